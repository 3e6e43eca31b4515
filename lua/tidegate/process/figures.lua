-- What goes on, in numbers, in the control thread: what services have carried and hold now, and what the
-- process uses.  Counters of services, not sums over connections: what opened and closed between two looks
-- is in them.

local cli = require "tidegate.cli"
local luv = require "luv"
local message = require "tidegate.process.message"
local stats = require "tidegate.process.stats"
local status = require "tidegate.process.status"
local task = require "tidegate.native.task"

local M = {}

local QUICK_MS = 5000
local NAMES = stats.NAMES

local counters = {} -- service → its counters: while they are held here they keep their values
local began = luv.hrtime()

local function item_of(service, state)
  local name = service.name
  counters[name] = counters[name] or stats.counters(name)
  local item, one = stats.read(counters[name]), status.read(name)
  local handler = service.handler or {}
  item.name = name
  item.addr = state.bound[name] and state.bound[name].address or service.addr or ""
  item.handler, item.chain = handler.type or "auto", handler.chain
  item.listener = service.listener and service.listener.type or "tcp"
  item.drained = state.drained[name]
  item.state = one and not item.drained and one.state or "closed"
  return item
end

local function forget_others(present)
  for name in pairs(counters) do
    counters[name] = present[name] and counters[name]
  end
end

local function seconds(time)
  return time.sec + time.usec / 1e6
end

local function process_of(answers)
  local usage, lua, sessions = luv.getrusage(), collectgarbage "count" * 1024, 0
  for _, answer in pairs(answers) do
    lua = lua + (answer.memory or 0)
    sessions = sessions + (answer.sessions or 0)
  end
  return {
    pid = luv.os_getpid(), version = cli.VERSION, uptime = (luv.hrtime() - began) / 1e9,
    cpu = seconds(usage.utime) + seconds(usage.stime), memory = luv.resident_set_memory(), lua = lua,
    workers = #answers, sessions = sessions,
  }
end

--- @param state of tidegate.process.control
-- @return { time (Unix seconds), services = { … }, total = { … }, process = { … } }; bytes, seconds
function M.read(state)
  local services, present, total = {}, {}, {}
  for _, name in ipairs(NAMES) do
    total[name] = 0
  end
  for i, service in ipairs(state.running.services or {}) do
    local item = item_of(service, state)
    services[i], present[service.name] = item, true
    for _, name in ipairs(NAMES) do
      total[name] = total[name] + item[name]
    end
  end
  forget_others(present)
  local sec, usec = luv.gettimeofday()
  return {
    time = sec + usec / 1e6, services = services, total = total,
    process = process_of(message.call({ type = "vitals" }, task.now() + QUICK_MS) or {}),
  }
end

local wanted = false

--- Have connections be known and counted from now on, also where there is no API.
function M.want()
  wanted = wanted or message.call({ type = "look" }, task.now() + QUICK_MS) ~= nil
end

return M
