-- A listening socket that lives as long as one connection: BIND of socks5 and relay.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local listener = require "tidegate.native.listener"
local resolve = require "tidegate.net.resolve"

local M = {}
local methods = {}
local mt = { __name = "tidegate.acceptor", __index = methods }

-- "host:port" as a socket can be bound to: names become addresses.
local function bindable(address, deadline)
  local host, port = addr.split(address)
  if host == "" or host == "*" or addr.is_ip(host) then
    return address
  end
  local found, err = resolve.lookup(host, deadline)
  if not found then
    return nil, err
  end
  return addr.join(found[1], port or 0)
end

--- @param address "host:port", or "unix:/path"
-- @param kind "stream" (default) or "datagram"
-- @return acceptor, which listens but does not accept yet | nil, err
function M.listen(address, deadline, kind)
  local err
  if address:sub(1, 5) ~= "unix:" then
    address, err = bindable(address, deadline)
    if not address then
      return nil, err
    end
  end
  local fds
  fds, err = listener.open(address, kind or "stream", 1)
  if not fds then
    return nil, failure.wrap(err):during("listen on " .. address)
  end
  return setmetatable({ fd = fds[1], path = address:match "^unix:(/.*)" }, mt)
end

--- @return "ip:port" it listens on
function methods:address()
  return listener.address(self.fd)
end

--- Run fn(stream) in a task of its own for every connection.  @return true | nil, err
function methods:start(fn)
  local err
  self.listener, err = listener.accept(self.fd, fn)
  return self.listener ~= nil, err
end

--- May be repeated.
function methods:close()
  if self.listener then
    self.listener:close()
    self.listener = nil
  end
  if self.fd then
    listener.close_fd(self.fd)
    self.fd = nil
    if self.path then
      os.remove(self.path)
    end
  end
end

return M
