-- Quotas: how many bytes may pass within a span of time.  What they count and when is up to the control
-- thread (tidegate.policy.quota.keeper); workers count, and stop what is beyond.

local lazy = require "tidegate.lazy"
local keeper = lazy "tidegate.policy.quota.keeper"
local meter = require "tidegate.native.meter"
local task = require "tidegate.native.task"

local M = {
  kind = "quota",
  list = "quotas",
  main = "blocked",
  on_error = false,
}

local POLL = 0.05 -- seconds between two looks at whether traffic flows again

local methods = {}
local mt = { __name = "tidegate.quota", __index = methods }

local WAYS = { ["in"] = "in", out = "out" }

--- Control thread: look after a quota from now on.
function M.prepare(config)
  return { id = keeper.open(config) }
end

--- Control thread: not any more.
function M.release(data)
  keeper.close(data.id)
end

--- A quota of the configuration.
function M.new(config, env)
  local self = setmetatable({ name = config.name, way = WAYS[config.direction or ""] or "both" }, mt)
  if not env.data then -- there is no control thread to ask
    self.data = M.prepare(config)
  end
  self.used, self.cap = keeper.counters(config.name)
  self.meter = meter.new():quota(self.used, self.cap, self.way)
  return self
end

--- @return whether nothing may pass now
function methods:blocked()
  local cap = self.cap:get()
  return cap > 0 and self.used:get() >= cap
end

-- The meter stays: connections that were accepted just now may still need it.
function methods:close()
  if self.data then
    M.release(self.data)
    self.data = nil
  end
end

--- Give a service its quotas.
function M.attach(service, config)
  for _, name in ipairs(config.quotas or {}) do
    local quota = service.registry.quotas[name]
    if quota then
      service.quotas = service.quotas or {}
      service.quotas[#service.quotas + 1] = quota
      service.meters[#service.meters + 1] = quota.meter -- a script's has none: it only keeps newcomers waiting
    end
  end
  return true
end

--- @return whether any quota of a service lets nothing pass
function M.blocks(service)
  local quotas = service.quotas
  for i = 1, quotas and #quotas or 0 do
    if quotas[i]:blocked() then
      return true
    end
  end
  return false
end

--- Wait until the quotas of a door's service let something pass; nothing more is accepted meanwhile.
-- @param door { service, acceptor }; its service may change while one waits
function M.park(door)
  if not M.blocks(door.service) then
    return
  end
  door.acceptor:pause(true)
  repeat
    task.sleep(POLL)
  until not M.blocks(door.service)
  door.acceptor:pause(false)
end

return M
