-- UDP endpoints in the test's own process.

local helpers = require "spec.helpers"
local packet = require "tidegate.native.packet"
local task = require "tidegate.native.task"

local M = {}

--- An endpoint that answers with its name and what it got.
-- @return it, its address
function M.answering(name)
  local e = assert(packet.udp { at = "127.0.0.1:0" })
  helpers.spawn(function()
    while true do
      local bytes, from = e:recv()
      if not bytes then
        return
      end
      e:send(name .. ":" .. bytes, from)
    end
  end)
  return e, e:local_address()
end

--- Send a datagram and wait for an answer.  @return bytes, from | nil, err
function M.ask(endpoint, bytes, to)
  endpoint:set_deadline(task.now() + 20000)
  assert(endpoint:send(bytes, to))
  return endpoint:recv()
end

--- An answer to a datagram that may be lost: it is asked until one comes, from a socket of its own.
-- @return bytes | nil
function M.exchange(where, bytes, seconds)
  local limit = task.now() + (seconds or 10) * 1000
  while task.now() < limit do
    local e = assert(packet.udp { connect = where })
    e:set_deadline(task.now() + 300)
    local answer
    for _ = 1, 3 do
      e:send(bytes)
      answer = e:recv()
      if answer then
        break
      end
      e:set_deadline(task.now() + 300)
    end
    e:close()
    if answer then
      return answer
    end
    task.sleep(0.05)
  end
end

return M
