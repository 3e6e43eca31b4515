-- What a test has running beside it in its own process, closed when it ends: echo servers, sockets.

local acceptor = require "tidegate.net.acceptor"
local addr = require "tidegate.net.addr"
local helpers = require "spec.helpers"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local task = require "tidegate.native.task"

local M = {}

local open = {}

--- Have thing:close() called at the end.  @return thing
function M.own(thing)
  open[#open + 1] = thing
  return thing
end

--- Stop the proxies, the programs and what is owned; for after_each.
function M.stop_all()
  proxy.stop_all()
  programs.stop_all()
  for i = #open, 1, -1 do
    table.remove(open, i):close()
  end
end

--- A test body that waits, as helpers.task().  Its servers are tasks that run until they are closed, which is
-- before it is asked what it left behind.
function M.test(fn)
  return helpers.task(function()
    fn()
    M.stop_all()
  end)
end

--- Run fn(stream) for whoever connects; it closes the stream.  @return port
function M.serve(fn)
  local server = M.own(assert(acceptor.listen "127.0.0.1:0"))
  assert(server:start(fn))
  return select(2, addr.split(server:address()))
end

--- Answers every byte with itself.  @return port
function M.tcp_echo()
  return M.serve(function(peer)
    local data = peer:read()
    while data and peer:write(data) do
      data = peer:read()
    end
    peer:close()
  end)
end

--- Answers every datagram with itself.  @return port
function M.udp_echo()
  local socket = M.own(assert(packet.udp { at = "127.0.0.1:0" }))
  task.spawn(function()
    local data, from = socket:recv()
    while data do
      socket:send(data, from)
      data, from = socket:recv()
    end
  end)
  return select(2, addr.split(socket:local_address()))
end

--- An HTTP server that answers every first request with one text.  @return port
function M.web(text)
  local answer = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(#text, text)
  return M.serve(function(peer)
    if peer:read_until("\r\n\r\n", 65536) then
      peer:write(answer)
    end
    peer:close()
  end)
end

return M
