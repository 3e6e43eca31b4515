-- What specs share: waiting tests, tasks beside them, letting the loop turn.

local task = require "tidegate.native.task"

local M = {}

local PATIENCE_MS = 60000 -- a test that waits longer hangs

local function finish(waiter, ok, ...)
  waiter:wake(ok, ...)
end

--- Run `fn(...)` in a task of its own.
-- @return a function that waits for what fn returns (for `patience` ms, if given); an error in it
-- is raised there
function M.spawn(fn, ...)
  local waiter = task.waiter()
  task.spawn(function(...)
    finish(waiter, xpcall(fn, debug.traceback, ...))
  end, ...)
  local function results(ok, ...)
    if ok == nil then
      error("the task did not end in time", 2)
    elseif not ok then
      error(..., 0)
    end
    return ...
  end
  return function(patience)
    return results(waiter:wait(task.now() + (patience or PATIENCE_MS)))
  end
end

--- Wrap a test body that waits: `it("…", helpers.task(function() … end))`.  The body runs in its own
-- task, so a hang (longer than `seconds`) fails the test instead of the run; afterwards it must have
-- left no task behind.
function M.task(fn, seconds)
  return function(...)
    local before = task.count()
    M.spawn(fn, ...)(seconds and seconds * 1000)
    M.eventually(function()
      return task.count() <= before
    end, "tasks were left behind")
  end
end

--- Let everybody who can run, run.
function M.pass()
  task.sleep(0.001)
end

--- Wait until `condition()` is true; fails the test after `seconds` (default 30).
function M.eventually(condition, message, seconds)
  local limit = task.now() + (seconds or 30) * 1000
  while not condition() do
    if task.now() > limit then
      error(message or "it did not come to pass", 2)
    end
    task.sleep(0.005)
  end
end

return M
