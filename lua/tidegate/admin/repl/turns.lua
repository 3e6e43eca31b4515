-- What people have a VM evaluate takes turns: a slice each, and after a slice the traffic has several times
-- as long for itself.  So a thousand evaluations without an end cost the data path no more than one, and one
-- no more than a slice.

local process = require "tidegate.native.process"
local slice = require "tidegate.native.slice"
local task = require "tidegate.native.task"

local M = {}

local SLICE_MS = { worker = 0.2, control = 5 }
local REST = { worker = 9, control = 0.5 } -- times as long as the slice took
local SHORT_MS = 0.1 -- what takes no longer needs no rest
local GROWTH = { worker = 8 * 1024 * 1024, control = 32 * 1024 * 1024 } -- bytes of memory

local busy, queue = false, {}

local function of_this(values)
  return process.id() == 0 and values.control or values.worker
end

local function pass_on()
  local first = table.remove(queue, 1)
  if first then
    first:wake(true)
  else
    busy = false
  end
end

local function take_turn()
  if busy then
    local waiter = task.waiter()
    queue[#queue + 1] = waiter
    waiter:wait()
  end
  busy = true
end

-- The next one's turn comes after a rest.
local function end_turn(used)
  if used <= SHORT_MS then
    return pass_on()
  end
  task.spawn(function()
    task.sleep(used * of_this(REST) / 1000)
    pass_on()
  end)
end

-- The compiler is off meanwhile: compiled code calls no hooks.
local function run_slice(co, left, limit, around)
  around(true)
  jit.off()
  local results = { slice.run(co, of_this(SLICE_MS), left, limit) }
  jit.on()
  around(false)
  return results
end

local function nothing() end

--- Run a function to its end, or until it has used up its time.  Call from a task.
-- @param budget ms
-- @param around nil or function(begins), called before and after each slice
-- @return "done" and what it returned | "error" and what it raised | "yield": it tried to wait | "time":
--   it was stopped
function M.run(budget, fn, around)
  local co, left = coroutine.create(fn), budget
  local limit = collectgarbage "count" * 1024 + of_this(GROWTH)
  jit.off(fn, true)
  while true do
    take_turn()
    local results = run_slice(co, left, limit, around or nothing)
    end_turn(results[2])
    left = left - results[2]
    if results[1] ~= "slice" then
      return results[1], unpack(results, 3, table.maxn(results))
    end
  end
end

return M
