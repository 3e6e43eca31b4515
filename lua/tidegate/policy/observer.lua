-- Observers: who is told the states of services, and what they and their clients carry.
--
-- An observer has `observe(self, events)` → true | nil, err.  An event is { kind = "service" or "handler",
-- service, client, type = "status" or "stats", status = { state, msg }, stats = { totalConns, … } }.  When
-- something is to be told is decided in the control thread (tidegate.process.status); the first worker,
-- which has the objects and scripts, does it.

local failure = require "tidegate.failure"
local metadata = require "tidegate.metadata"
local stats = require "tidegate.process.stats"

local M = {}

M.kind = "observer"
M.list = "observers"
M.main = "observe"
M.on_error = false -- told again later

--- Settings of services.
M.METADATA = {
  enableStats = { type = "bool", default = false, doc = "count connections, bytes and errors" },
  ["observer.period"] = {
    type = "duration",
    default = 5,
    min = 1,
    aliases = { "observePeriod" },
    doc = "how often the observer is told what was counted",
  },
  ["observer.resetTraffic"] = { type = "bool", default = false, doc = "tell bytes since the last event" },
}

--- Settings of handlers.
M.HANDLER_METADATA = {
  ["observer.period"] = {
    type = "duration",
    default = 5,
    min = 1,
    aliases = { "observePeriod", "observer.observePeriod" },
    doc = "how often the observer is told what clients carry",
  },
  ["observer.resetTraffic"] = M.METADATA["observer.resetTraffic"],
}

local nobody_mt = { __name = "tidegate.observer.none", __index = {
  observe = function()
    return true
  end,
  close = function() end,
} }

--- An observer of the configuration; without a plugin nobody is told.
function M.new()
  return setmetatable({}, nobody_mt)
end

--- Let a service count what is to be told.
function M.attach(service, config)
  local handler = config.handler or {}
  if metadata.parse(M.METADATA, config.metadata).enableStats then
    stats.count_service(service)
  end
  if handler.observer and handler.observer ~= "" then
    stats.count_clients(service)
  end
  if config.observer and config.observer ~= "" then
    service.observer = service.registry.observers[config.observer]
  end
  return true
end

--- Tell an observer; a name that leads nowhere is told nothing, and that is well.
-- @param observers name → observer
-- @return true | nil, err
function M.tell(observers, name, events)
  local observer = observers and observers[name]
  if not observer then
    return true
  end
  local ok, told, err = pcall(observer.observe, observer, events)
  if not ok then
    return nil, failure.wrap(told)
  elseif told == false or told == nil and err ~= nil then
    return nil, failure.wrap(err == nil and "the observer said no" or err)
  end
  return true
end

return M
