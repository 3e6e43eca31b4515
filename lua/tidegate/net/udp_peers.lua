-- Those who send datagrams to a port, one endpoint for each: what a listener of UDP waits for.

local arrivals = require "tidegate.net.arrivals"
local packet = require "tidegate.native.packet"

local M = {}
local methods = {}
local mt = { __name = "tidegate.udp_peers", __index = methods }

local function make(address, open)
  local self = setmetatable({ bound = address, arrivals = arrivals.new() }, mt)
  local err
  self.sessions, err = open(function(session)
    self.arrivals:push(session, session:remote_address())
  end, function(why)
    self.arrivals:finish(why)
  end)
  if not self.sessions then
    return nil, err
  end
  return self
end

--- Take an endpoint that carries addresses apart by them; it is theirs from now on.
-- @param address where it is bound
-- @param options of tidegate.native.packet.split
-- @return acceptor: accept([deadline]) → endpoint, its address | nil, err; address(); close() | nil, err
function M.split(endpoint, address, options)
  return make(address, function(serve, ended)
    return packet.split(endpoint, options, serve, ended)
  end)
end

--- The same for a bound socket.
-- @param release function: closes it
function M.listen(fd, address, options, release)
  local self, err = make(address, function(serve)
    return packet.listen(fd, options, serve)
  end)
  if not self then
    return nil, err
  end
  self.release = release
  return self
end

function methods:address()
  return self.bound
end

--- Wait for the first datagram of somebody.
function methods:accept(deadline)
  return self.arrivals:pop(deadline)
end

--- All of them end.  May be repeated.
function methods:close()
  self.arrivals:close()
  self.sessions:close()
  if self.release then
    self.release()
    self.release = nil
  end
end

return M
