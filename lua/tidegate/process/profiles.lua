-- Profiles of threads, taken at the control thread's wish.

local message = require "tidegate.process.message"
local process = require "tidegate.native.process"
local profile = require "tidegate.process.profile"
local task = require "tidegate.native.task"

local M = {}

local ANSWER_MS = 30000

-- @return first, last: the threads that are meant, 0 is control | nil
local function range(where)
  if where == "all" then
    return 0, process.workers()
  elseif where == "control" then
    return 0, 0
  end
  local id = tonumber(where)
  if id and id >= 1 and id <= process.workers() and id == math.floor(id) then
    return id, id
  end
end

-- @return { name, counts, kind } | nil, why not
local function of_thread(id, seconds, kind)
  local counts, err
  if id == 0 then
    counts, err = profile.run(seconds, kind)
  else
    local question = { type = "profile", seconds = seconds, kind = kind }
    local answers = message.call(question, task.now() + seconds * 1000 + ANSWER_MS, id)
    local answer = answers and answers[id] or {}
    counts, err = answer.counts, answer.err or "no answer in time"
  end
  if not counts then
    return nil, err
  end
  return { id == 0 and "control" or "worker " .. id, counts, kind }
end

-- LuaJIT looks at one VM at a time: they share the seconds.
local function in_turn(first, last, seconds)
  local list = {}
  for id = first, last do
    local one, err = of_thread(id, seconds / (last - first + 1), "lua")
    if not one then
      return nil, err
    end
    list[#list + 1] = one
  end
  return list
end

local function at_once(first, last, seconds)
  local list, left, problem, done = {}, last - first + 1, nil, task.waiter()
  for id = first, last do
    task.spawn(function()
      local one, err = of_thread(id, seconds, "c")
      list[#list + 1] = one
      problem = problem or err
      left = left - 1
      if left == 0 then
        done:wake(true)
      end
    end)
  end
  if left > 0 then
    done:wait()
  end
  if problem then
    return nil, problem
  end
  return list
end

--- Look at threads for a while.
-- @param where "all", "control", or the number of a worker
-- @param kind nil, "lua" or "c"
-- @return a list of what profile.fold() takes | nil, why not
function M.take(where, seconds, kind)
  local first, last = range(where)
  if not first then
    return nil, ("there is no worker %q"):format(tostring(where))
  elseif kind == "c" then
    return at_once(first, last, seconds)
  elseif kind == nil or kind == "lua" then
    return in_turn(first, last, seconds)
  end
  return nil, ("there are no stacks of %q; lua and c are"):format(kind)
end

return M
