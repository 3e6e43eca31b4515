-- Lua text evaluated in this VM, for people: with a limit on how long it may run.
--
-- What is typed shares one environment per VM, so that names stay from line to line.  It runs in a
-- coroutine of its own, a slice at a time (tidegate.admin.repl.turns): it cannot wait, and it cannot hold
-- the VM.  What has to wait is run as a task instead, where the watchdog looks after it.

local complete = require "tidegate.admin.repl.complete"
local guard = require "tidegate.script.guard"
local print = require "tidegate.admin.repl.print"
local process = require "tidegate.native.process"
local turns = require "tidegate.admin.repl.turns"

local M = {}

local BUDGET_MS = { control = 1000, worker = 20 } -- of CPU
local COMPLETE_MS = 20
local OUTPUT_MAX = 256 * 1024
local TYPED = "what was typed into the REPL"
local WAITS = "cannot wait here; use :wait EXPRESSION"

local provided = {} -- name → function() → value

local env = setmetatable({}, {
  __index = function(_, name)
    local get = provided[name]
    if get then
      return get()
    end
    return _G[name]
  end,
})

--- Give what is typed a name.  @param get function() → its value now
function M.provide(name, get)
  provided[name] = get
end

local function pack(...)
  return { n = select("#", ...), ... }
end

local outputs = setmetatable({}, { __mode = "k" }) -- coroutine → where what it prints goes
local current -- where what runs now prints, in coroutines of its own too

-- print() of the evaluated text writes into its answer.
rawset(env, "print", function(...)
  local out = outputs[coroutine.running()] or current
  if not out or out.size > OUTPUT_MAX then
    return
  end
  local texts = {}
  for i = 1, select("#", ...) do
    texts[i] = tostring((select(i, ...)))
  end
  local line = table.concat(texts, "\t")
  out[#out + 1] = line
  out.size = out.size + #line
end)

-- A handler that runs where the error is would run where nothing can be stopped; this one runs afterwards.
rawset(env, "xpcall", function(fn, handler, ...)
  local results = pack(pcall(fn, ...))
  if results[1] then
    return unpack(results, 1, results.n)
  end
  return false, handler(results[2])
end)

local function compile(text)
  local chunk = loadstring("return " .. text, "=repl")
  local err
  if not chunk then
    chunk, err = loadstring(text, "=repl")
  end
  if not chunk then
    return nil, err, err:find "'<eof>'$" ~= nil
  end
  jit.off(chunk, true)
  return setfenv(chunk, env)
end

-- Whatever was raised, as text: its own __tostring may raise as well.
local function text_of(value)
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or ("(an error of type %s)"):format(type(value))
end

local function tidy(err)
  return (text_of(err):gsub("^repl:1: ", ""):gsub("^tidegate/admin/repl/evaluate%.lua:%d+: ", ""))
end

local function answer(out, ok, text)
  out[#out + 1] = text ~= "" and text or nil
  text = table.concat(out, "\n")
  if #text > OUTPUT_MAX then
    text = text:sub(1, OUTPUT_MAX) .. "\n… cut off"
  end
  return { ok = ok, text = text }
end

local function shown(results)
  return results.n > 0 and print.results(results) or ""
end

-- Values are made into text under the same limit: their __tostring may be anything.
local function evaluated(chunk)
  local ok, text = pcall(function()
    return shown(pack(chunk()))
  end)
  return ok, ok and text or tidy(text)
end

-- @return whether it went well, its text
local function run_limited(chunk, budget, out)
  local what, ok, text = turns.run(budget, function()
    return evaluated(chunk)
  end, function(on)
    current = on and out or nil
  end)
  if what == "done" then
    if not ok and text:find("must not wait", 1, true) then
      return false, WAITS
    end
    local waits = not ok and text:find("wait", 1, true)
    return ok, text .. (waits and " (use :wait EXPRESSION for what waits)" or "")
  elseif what == "yield" then
    return false, WAITS
  elseif what == "time" then
    return false, ("stopped after %d ms"):format(budget)
  end
  return false, tidy(ok)
end

local function run_task(chunk, out)
  local failed
  outputs[coroutine.running()] = out
  local safe = guard.new(chunk, TYPED, function()
    failed = failed or true
  end, { error = function(_, text)
    failed = text:gsub("^script: " .. TYPED .. ": ", "")
  end })
  local results = pack(safe())
  outputs[coroutine.running()] = nil
  if failed then
    return false, tidy(failed)
  end
  return run_limited(function()
    return unpack(results, 1, results.n)
  end, BUDGET_MS.worker, out)
end

--- Evaluate a text: an expression, or statements.  Call from a task.
-- @param options nil or { wait = true: it may wait; budget = ms of CPU }
-- @return { ok, text } | { more = true } when the text is not complete
function M.run(text, options)
  local chunk, err, more = compile(text)
  if not chunk then
    return more and { more = true } or { ok = false, text = tidy(err) }
  end
  local out = { size = 0 }
  if options and options.wait then
    return answer(out, run_task(chunk, out))
  end
  local budget = options and options.budget or process.id() == 0 and BUDGET_MS.control or BUDGET_MS.worker
  return answer(out, run_limited(chunk, budget, out))
end

--- Collect all garbage of this VM.  @return { KiB before, KiB after }
function M.collect()
  local before = collectgarbage "count"
  process.trim()
  return { before, collectgarbage "count" }
end

--- What a line could go on with.  Call from a task: indexing may run anything.
-- @return the end of the line that is being typed, a sorted list of what could stand there instead
function M.complete(line)
  local what, word, list = turns.run(COMPLETE_MS, function()
    return complete.find(line, env, { env, provided, _G })
  end)
  if what ~= "done" then
    return "", {}
  end
  return word, list
end

return M
