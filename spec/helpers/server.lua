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

--- A server that answers "got N", N the number of bytes, when the client has finished.
-- @param ended function: told how the client's side ended, the code of an error
-- @return address, function that stops it
function M.count(ended)
  return M.accept(function(s)
    local total, part, err = 0, s:read()
    while part do
      total = total + #part
      part, err = s:read()
    end
    s:write("got ", tostring(total))
    s:close()
    ended(err.code)
  end)
end

return M
