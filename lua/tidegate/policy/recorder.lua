-- Recorders: where records of connections go.
--
-- A recorder is an object with `record(self, data, meta)` → true | nil, err, which never waits.  What
-- does wait (sinks, plugins, scripts) is behind a queue, see tidegate.policy.recorder.queue.

local failure = require "tidegate.failure"
local metadata = require "tidegate.metadata"
local queue = require "tidegate.policy.recorder.queue"

local M = {}

M.kind = "recorder"
M.list = "recorders"
M.main = "record"

local SINKS = { "file", "tcp", "http", "redis" } -- the first that is configured is used

-- Whoever is away may be back; any other answer of a plugin or script is its last word.
local AWAY = {
  refused = true, unreachable = true, reset = true, timeout = true, closed = true, eof = true, resolve = true,
}

local BODY_SIZE, BODY_MAX = 65536, 1048576

--- Settings of a binding (`service.recorders[].metadata`).
M.METADATA = {
  ["http.body"] = { type = "bool", default = false, doc = "record bodies" },
  ["http.maxBodySize"] = { type = "int", default = BODY_SIZE, doc = "bytes of a body or payload, at most 1048576" },
  direction = { type = "bool", default = false, doc = "serial: begin with > or <" },
  timeStampFormat = { type = "string", doc = "serial: a time in this Go layout before each piece" },
  hexdump = { type = "bool", default = false, doc = "serial: as hexdump -C" },
}

-- A recorder of a name that leads nowhere.
local nowhere_mt = { __name = "tidegate.recorder.none", __index = {
  record = function()
    return true
  end,
  close = function() end,
} }
local nowhere = setmetatable({}, nowhere_mt)

--- A recorder of the configuration.
-- @return recorder | nil, err
function M.new(config, env)
  for _, name in ipairs(SINKS) do
    if config[name] then
      local sink, err = require("tidegate.policy.recorder." .. name).open(config[name])
      if not sink then
        return nil, err:during("recorder " .. tostring(config.name))
      end
      return queue.new(sink, config.name or "", { log = env.log })
    end
  end
  return nowhere
end

local called_mt = { __index = {} }

-- Objects whose record() may wait, as a sink.
function called_mt.__index:write(list, from)
  local entry = list[from]
  local ok, err = self.object:record(entry.data, entry.meta)
  if ok == nil and err ~= nil then
    err = failure.wrap(err)
    err.rejected = not AWAY[err.code]
    return 0, err
  end
  return 1
end

function called_mt.__index:close()
  if self.object.close then
    self.object:close()
  end
end

--- Put a queue in front of an object whose record() may wait.
-- @param env { name, log }
function M.queued(object, env)
  if queue.is(object) or getmetatable(object) == nowhere_mt then
    return object
  end
  local own = rawget(object, "queue") -- a wrapper's is not that of what it wraps
  if not own then
    own = queue.new(setmetatable({ object = object, lanes = 8 }, called_mt), env.name or "", { log = env.log })
    object.queue = own
  end
  return own
end

--- A script's recorder: what it may wait for does not delay connections.
function M.scripted(spec, env)
  return M.queued(spec, env)
end

local function options_of(map)
  local md = metadata.parse(M.METADATA, map)
  return {
    body = md["http.body"] and math.max(math.min(md["http.maxBodySize"], BODY_MAX), 0) or 0,
    payload = math.max(math.min(md["http.maxBodySize"], BODY_MAX), 0),
    direction = md.direction,
    time_format = md.timeStampFormat,
    hexdump = md.hexdump,
  }
end

--- Bind the recorders a service names: `service.recorders[type]` = { recorder, meta, options }; of each
-- type the first entry counts.
function M.attach(service, config)
  local bound
  for _, use in ipairs(config.recorders or {}) do
    bound = bound or {}
    if use.record and use.name and use.name ~= "" and not bound[use.record] then
      local object = service.registry.recorders[use.name]
      bound[use.record] = {
        recorder = object and M.queued(object, { name = use.name, log = service.registry.log }) or nowhere,
        meta = use.metadata,
        options = options_of(use.metadata),
      }
    end
  end
  service.recorders = bound
  return true
end

return M
