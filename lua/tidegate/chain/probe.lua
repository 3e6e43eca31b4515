-- Probes: something is looked at every so often, whatever the traffic does.
--
-- They run in the first worker, which has the nodes, chains and stages of the generation in force; what
-- they find is shared with the others (marks, health).  Probes of one thing that several generations ask
-- for run once.

local context = require "tidegate.process.context"
local failure = require "tidegate.failure"
local process = require "tidegate.native.process"
local signature = require "tidegate.process.signature"
local task = require "tidegate.native.task"
local uv = require "luv"

local M = {}
local methods = {}
local mt = { __name = "tidegate.probe", __index = methods }

--- The number of the worker that probes.
M.worker = 1

local INTERVAL, TIMEOUT = 30, 10 -- seconds
local MAX_LINE = 8192

local running = {} -- key → list of probes; the last one is asked
local states = {} -- id → "up" or "down", as last said

local function positive(value, default)
  return value and value > 0 and value or default
end

-- Kinds -------------------------------------------------------------------------------------------

local function http_request(config)
  local lines = {
    ("GET %s HTTP/1.1"):format(config.httpPath and config.httpPath ~= "" and config.httpPath or "/"),
    "Host: " .. (config.httpHost and config.httpHost ~= "" and config.httpHost or config.addr),
  }
  for name, value in pairs(config.httpHeaders or {}) do
    lines[#lines + 1] = ("%s: %s"):format(name, value)
  end
  lines[#lines + 1] = "Connection: close"
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- @return true | nil, err
local function ask_http(config, stream, deadline)
  stream:set_deadline(deadline)
  local ok, err = stream:write(http_request(config))
  if not ok then
    return nil, err
  end
  local line
  line, err = stream:read_until("\n", MAX_LINE)
  if not line then
    return nil, err
  end
  local status = tonumber(line:match "^HTTP/1%.%d (%d%d%d)")
  local expected = positive(config.expectedStatus, 200)
  if status ~= expected then
    return nil, failure.new("protocol", ("answers %s, not %d"):format(tostring(status or "no HTTP"), expected))
  end
  return true
end

local function visit(self, ctx, deadline)
  local began = uv.hrtime()
  local stream, err = self.open(ctx, deadline)
  if not stream then
    return nil, err
  end
  ctx:own(stream)
  local took = (uv.hrtime() - began) / 1e9
  local ok = true
  if self.config.type == "http" then
    ok, err = ask_http(self.config, stream, deadline)
  end
  return ok and took, err
end

local function over_stream(self, deadline)
  local ctx = context.new(self.registry:own_service())
  ctx.remote, ctx.local_address, ctx.client, ctx.client_ip = "@", "@", "@", ""
  local ok, latency, err = pcall(visit, self, ctx, deadline)
  context.close(ctx)
  if not ok then
    error(latency, 0)
  end
  return latency, err
end

local function by_command(self, deadline)
  local waiter, began = task.waiter(), uv.hrtime()
  local handle, why = uv.spawn("sh", {
    args = { "-c", self.config.command }, stdio = {}, detached = true,
  }, function(code, signal)
    waiter:wake(code, signal)
  end)
  if not handle then
    return nil, failure.new("io", tostring(why))
  end
  local code, signal = waiter:wait(deadline)
  if code == nil then
    uv.kill(-handle:get_pid(), "sigkill") -- and what it started
    waiter:wait()
  end
  handle:close()
  if code == nil then
    return nil, failure.new("timeout", "the command was killed at the timeout")
  elseif code ~= 0 or signal ~= 0 then
    return nil, failure.new("io", signal ~= 0 and ("the command died of signal %d"):format(signal)
      or ("the command ended with %d"):format(code))
  end
  return (uv.hrtime() - began) / 1e9
end

-- Results -----------------------------------------------------------------------------------------

-- One line whenever it changes.
local function announce(self, latency, err)
  local state = latency and "up" or "down"
  if states[self.id] == state then
    return
  end
  states[self.id] = state
  local fields = { "kind", "probe", "probe", self.label }
  if latency then
    self.registry.log:info(("%s is up (%.1f ms)"):format(self.label, latency * 1000), fields)
  else
    self.registry.log:warn(("%s is down: %s"):format(self.label, tostring(err)), fields)
  end
end

local function run_once(self)
  local deadline = task.now() + self.timeout * 1000
  local probe = self.config.type == "cmd" and by_command or over_stream
  local ok, latency, err = pcall(probe, self, deadline)
  if not ok then
    latency, err = nil, failure.new("io", tostring(latency))
  end
  if self.stopped then
    return
  elseif latency then
    self.mark:ok()
  else
    self.mark:fail()
  end
  if self.health then
    self.health:note(latency)
  end
  announce(self, latency, err)
end

local function run(key)
  local users = running[key]
  while #users > 0 do
    local began = task.now()
    local one = users[#users]
    run_once(one)
    local rest = one.interval - (task.now() - began) / 1000
    local pause = task.waiter()
    users.pause = pause
    if #users > 0 then
      pause:wait(task.now() + math.max(rest, 0.01) * 1000)
    end
  end
  running[key] = nil
end

-- Face --------------------------------------------------------------------------------------------

--- Make a probe; it does nothing until start().
-- @param config {type, addr, interval, timeout, …} or nil
-- @param target { id = what makes it unique, label = for messages, registry, mark, health (or nil),
--   open = function(ctx, deadline) → stream | nil, err }
-- @return probe, or nil when none is asked for
function M.new(config, target)
  if not config or not target.registry then
    return nil
  end
  local by_cmd = config.type == "cmd"
  local wanted = by_cmd and config.command or not by_cmd and config.addr
  if not wanted or wanted == "" then
    return nil
  end
  local self = setmetatable(target, mt)
  self.config = config
  self.interval = positive(config.interval, INTERVAL)
  self.timeout = positive(config.timeout, TIMEOUT)
  self.key = self.id .. "/" .. signature.of(config)
  return self
end

--- Begin, in the worker that probes.
function methods:start()
  if process.id() ~= M.worker or self.started then
    return
  end
  self.started = true
  local users = running[self.key]
  if users then
    users[#users + 1] = self
    return
  end
  running[self.key] = { self }
  task.spawn(run, self.key)
end

--- End; a probe of the same thing that somebody else wants goes on.
function methods:stop()
  self.stopped = true
  local users = self.started and running[self.key] or {}
  for i = #users, 1, -1 do
    if users[i] == self then
      table.remove(users, i)
    end
  end
  if #users == 0 and users.pause then
    users.pause:wake(true)
  end
end

return M
