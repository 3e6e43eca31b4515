-- Messages between the VMs of the process: Lua values, serialized.
--
-- A message is a table with a `type`.  `call` sends one to every worker and waits until each has
-- answered; `handle` says what is done with a type on this side.

local buffer = require "string.buffer"
local process = require "tidegate.native.process"
local task = require "tidegate.native.task"

local M = {}

local handlers = {} -- type → function(from, message) → answer
local pending = {} -- call id → { waiter, missing, answers }
local last_id = 0

--- Send to one VM (0 is control).
function M.send(to, message)
  return process.post(to, buffer.encode(message))
end

--- Say what is done with messages of a type; what `fn(message, from)` returns is the answer to a call.
function M.handle(name, fn)
  handlers[name] = fn
end

--- Ask every worker, or one VM, and wait for all answers.
-- @param only nil for all workers, or the number of one VM (0 is control)
-- @return a list of answers by worker | nil when `deadline` (ms, loop clock) has passed, and who is missing
function M.call(message, deadline, only)
  last_id = last_id + 1
  local call = { waiter = task.waiter(), answers = {}, missing = only and 1 or process.workers() }
  pending[last_id] = call
  message.call = last_id
  local bytes = buffer.encode(message)
  for id = only or 1, only or process.workers() do
    process.post(id, bytes)
  end
  local ok = call.missing == 0 or call.waiter:wait(deadline)
  pending[message.call] = nil
  if not ok then
    return nil, call.missing
  end
  return call.answers
end

local function on_answer(from, message)
  local call = pending[message.answers]
  if not call then
    return
  end
  call.answers[from] = message.value
  call.missing = call.missing - 1
  if call.missing == 0 then
    call.waiter:wake(true)
  end
end

local function on_message(from, bytes)
  local message = buffer.decode(bytes)
  if message.answers then
    return on_answer(from, message)
  end
  local ok, value = xpcall(handlers[message.type], debug.traceback, message, from)
  if not ok then
    if not message.call then
      error(value, 0)
    end
    value = { problems = { tostring(value) }, alive = 0 } -- whoever asked must not wait in vain
  end
  if message.call then
    process.post(from, buffer.encode { answers = message.call, value = value })
  end
end

--- Begin to receive.
function M.open()
  process.on_message(on_message)
end

return M
