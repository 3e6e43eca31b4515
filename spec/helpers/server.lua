-- Servers in the test's own process.

local listener = require "tidegate.native.listener"

local M = {}

--- Run fn(stream) for whoever connects.  @return address, function that stops it
function M.accept(fn)
  local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
  local acceptor = listener.accept(fds[1], fn)
  return listener.address(fds[1]), function()
    acceptor:close()
    listener.close_fd(fds[1])
  end
end

--- A server that greets with a text, if there is one, and then echoes.
-- @return address, function that stops it
function M.echo(greeting)
  return M.accept(function(s)
    local bytes = greeting or s:read()
    while bytes and s:write(bytes) do
      bytes = s:read()
    end
    s:close()
  end)
end

return M
