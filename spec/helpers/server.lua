-- Servers in the test's own process.

local assert = require "luassert"
local listener = require "tidegate.native.listener"
local task = require "tidegate.native.task"

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

--- A server that reads one byte, says `words` and leaves: what it has not read makes a reset of its end.
-- @return address, function that stops it
function M.hang_up(words)
  return M.accept(function(peer)
    peer:read_exact(1)
    peer:write(words)
    peer:close()
  end)
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

--- What a way to a server must do with ends: a half-close arrives and the answer comes back, an abrupt end arrives.
-- @param connect function: address → stream that leads there
function M.check_ends(connect)
  local seen = task.waiter()
  local where, stop = M.count(function(code)
    seen:wake(code)
  end)
  local s = connect(where)
  s:write(("x"):rep(100000))
  s:shutdown()
  assert.equal("got 100000", s:read_exact(10))
  local _, err = s:read()
  assert.equal("eof", err.code)
  s:close()
  assert.equal("eof", (seen:wait(task.now() + 20000)))

  s = connect(where)
  s:write "abc"
  s:close()
  assert.is_truthy(seen:wait(task.now() + 20000))
  stop()
end

return M
