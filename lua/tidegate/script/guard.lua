-- Functions of scripts, fenced in: one that raises is reported and counted, and a default stands in
-- for its answer.

local luv = require "luv"
local shared = require "tidegate.native.shared"
local watchdog = require "tidegate.native.watchdog"

local M = {}

local hrtime = luv.hrtime
local xpcall = xpcall

local fenced = setmetatable({}, { __mode = "k" }) -- a script's function, or source → what it is; for the watchdog

--- Counts the errors of all scripts of the process.
M.errors = shared.counter "script/errors"

local function handler(err)
  if type(err) == "string" then
    local text = debug.traceback(err, 2) -- no tail call: it would take a level away
    return text
  end
  return err
end

-- "file.lua:12: message" of a traceback
local function headline(text)
  return text:match "^[^\n]*"
end

--- Know functions that are called without a fence, but where errors are caught: components'.
-- @param what nil, or what it is
function M.know(fn, what)
  fenced[fn] = what
end

--- Know a script by its file: whatever of it runs may be stopped.
function M.know_file(path, what)
  fenced["@" .. path] = what
end

--- @return what of a script runs on this stack, innermost, or nil
function M.culprit()
  local level, script = 2, nil
  while true do
    local info = debug.getinfo(level, "fS")
    if not info then
      return script
    elseif fenced[info.func] then
      return fenced[info.func]
    end
    script = script or fenced[info.source]
    level = level + 1
  end
end

--- Report what a script's function raised.
-- @param what "bypass \"work-hours\""
-- @param fields nil, or what the line's fields begin with instead of kind
function M.report(log, what, err, fields)
  M.errors:add(1)
  shared.counter("script/errors/" .. what):add(1)
  local text = tostring(err)
  fields = fields or { "kind", "script" }
  for _, value in ipairs { "hook", what, "traceback", text } do
    fields[#fields + 1] = value
  end
  log:error(("script: %s: %s"):format(what, headline(text)), fields)
end

--- Raise that a script's function answered what makes no sense.
-- @param wanted "a number"
function M.wrong(fn, wanted, value)
  local info = debug.getinfo(fn, "S")
  local text = type(value) == "string" and ("%q"):format(value) or "a " .. type(value)
  error(("%s:%d: %s is wanted, not %s"):format(info.short_src, info.linedefined, wanted, text), 0)
end

local function look(fn, answer, ...)
  local wanted, value = answer(...)
  if wanted then
    M.wrong(fn, wanted, value)
  end
  return ...
end

--- A function that raises when the answer of another makes no sense.
-- @param answer function(…) → what is wanted, what came instead | nil when it is fine
function M.expect(fn, answer)
  if not answer then
    return fn
  end
  return function(...)
    return look(fn, answer, fn(...))
  end
end

--- For answer(): what is neither nothing nor of a type.
function M.wants(kind, wanted)
  return function(value)
    if value and type(value) ~= kind then
      return wanted, value
    end
  end
end

-- a … h are what the function was called with: a default that is a function gets them.
local function finish(fence, a, b, c, d, e, f, g, h, ok, ...)
  if ok then
    return ...
  end
  M.report(fence.log, fence.what, (...))
  if fence.stands_in then
    return fence.stands_in(a, b, c, d, e, f, g, h)
  end
  return fence.value
end

local timed -- function(what, nanoseconds), while calls are timed

--- Have a function hear how long each call took, waits included: fn(what, nanoseconds); nil: none.
function M.time(fn)
  timed = fn
end

local function finish_timed(fence, began, ...)
  if timed then
    timed(fence.what, hrtime() - began)
  end
  return finish(fence, ...)
end

--- Fence a function in.  It takes at most eight arguments.
-- @param what it is, for messages
-- @param default what it answers when it raises: a value, or a function of the same arguments
-- @param log where that is said
function M.new(fn, what, default, log)
  fenced[fn] = what
  local fence = { what = what, log = log }
  if type(default) == "function" then
    fence.stands_in = default
  else
    fence.value = default
  end
  return function(a, b, c, d, e, f, g, h)
    if timed then
      return finish_timed(fence, hrtime(), a, b, c, d, e, f, g, h, xpcall(fn, handler, a, b, c, d, e, f, g, h))
    end
    return finish(fence, a, b, c, d, e, f, g, h, xpcall(fn, handler, a, b, c, d, e, f, g, h))
  end
end

--- The same for a function that becomes a method: it is called without `self`.
function M.method(fn, what, default, log)
  local safe = M.new(fn, what, default, log)
  return function(_, ...)
    return safe(...)
  end
end

local function say_busy(log, culprit, ms, traceback, stopped)
  local fields = { "kind", "script", "hook", culprit, "traceback", traceback }
  if not culprit then -- not a script's fault, and nothing a user can mend
    return log():debug(("the worker was busy for %d ms"):format(ms), { "traceback", traceback })
  end
  log():warn(("script: %s has kept the worker busy for %d ms%s"):format(culprit, ms,
    stopped and " and is stopped" or ""), fields)
end

--- Have functions that keep this VM busy for too long reported, and stopped in the end.
-- @param log function() → where that is said
function M.watch(log)
  watchdog.watch(fenced, function(...)
    say_busy(log, ...)
  end)
end

return M
