-- Where records end up in specs: Redis, an HTTP server and a TCP server.

local head = require "tidegate.net.http.head"
local listener = require "tidegate.native.listener"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"

local M = {}

--- Start redis-server.  @return { port, addr, call(…) → text of redis-cli, stop() }
function M.redis(port)
  local self = { port = port or programs.free_port() }
  self.addr = "127.0.0.1:" .. self.port
  self.server = programs.start("redis-server", {
    "--port", tostring(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
  }, { port = self.port })
  function self.call(...)
    return (programs.output("redis-cli", { "-p", tostring(self.port), ... }):gsub("\n$", ""))
  end
  function self.stop()
    self.server:stop()
  end
  return self
end

--- An HTTP server that keeps what is posted.  @return { address, requests = { {head, body} … }, status = 200 }
function M.http()
  local self = { requests = {}, status = 200 }
  self.address = plane.accept(function(s)
    while true do
      local request = head.request(s)
      if not request then
        break
      end
      local length = request.length or 0
      local body = length > 0 and s:read_exact(length) or ""
      self.requests[#self.requests + 1] = { head = request, body = body }
      if not s:write(("HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n"):format(self.status)) then
        break
      end
    end
    s:close()
  end)
  return self
end

--- A TCP server that keeps what each connection sent; on a port of its own choice if none is given.
-- @return { address, port, received = { text … }, close() }
function M.tcp(port)
  local self = { received = {} }
  local fds = assert(listener.open("127.0.0.1:" .. (port or 0), "stream", 1))
  self.address = listener.address(fds[1])
  self.port = tonumber(self.address:match ":(%d+)$")
  local acceptor = assert(listener.accept(fds[1], function(s)
    local parts = {}
    local bytes = s:read()
    while bytes do
      parts[#parts + 1] = bytes
      bytes = s:read()
    end
    s:close()
    self.received[#self.received + 1] = table.concat(parts)
  end))
  function self.close()
    acceptor:close()
    listener.close_fd(fds[1])
  end
  return self
end

return M
