-- Records sent over TCP, one connection each, as gost does.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local resolve = require "tidegate.net.resolve"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.recorder.tcp", __index = methods }

local TIMEOUT = 10 -- seconds, when none is given; also for the write

--- @param config { addr, timeout }
function M.open(config)
  local host, port = addr.split(config.addr or "")
  if not port then
    return nil, failure.new("config", "tcp: an address with a port is needed")
  end
  local timeout = config.timeout and config.timeout > 0 and config.timeout or TIMEOUT
  return setmetatable({ host = host, port = port, timeout = timeout, lanes = 4 }, mt)
end

local function dial(self)
  local deadline = task.now() + self.timeout * 1000
  local host = self.host == "" and "127.0.0.1" or self.host
  if addr.is_ip(host) then
    return stream.dial(addr.join(host, self.port), nil, deadline)
  end
  local ips, err = resolve.lookup(host, deadline)
  if not ips then
    return nil, err
  end
  local places = {}
  for i, ip in ipairs(type(ips) == "table" and ips or { ips }) do
    places[i] = addr.join(ip, self.port)
  end
  return stream.dial(places, nil, deadline)
end

function methods:write(list, from)
  local s, err = dial(self)
  if not s then
    return 0, err
  end
  s:set_deadline(task.now() + TIMEOUT * 1000)
  local ok
  ok, err = s:write(list[from].data)
  if ok then
    s:shutdown()
  end
  s:close()
  if not ok then
    return 0, err
  end
  return 1
end

return M
