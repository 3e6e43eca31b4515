-- Lua text evaluated in this VM, for people: with a limit on how long it may run.
--
-- What is typed shares one environment per VM, so that names stay from line to line.  It runs in a
-- coroutine of its own under a count hook: it cannot wait, and it cannot hold the VM for longer than its
-- budget.  What has to wait is run as a task instead, where the watchdog looks after it.

local guard = require "tidegate.script.guard"
local luv = require "luv"
local print = require "tidegate.admin.repl.print"
local process = require "tidegate.native.process"

local M = {}

local CHECK_EVERY = 500 -- instructions
local BUDGET_MS = { control = 1000, worker = 20 }
local OUTPUT_MAX = 256 * 1024

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

-- print() of the evaluated text writes into its answer.
local function capture(out)
  return function(...)
    local texts = {}
    for i = 1, select("#", ...) do
      texts[i] = tostring((select(i, ...)))
    end
    out[#out + 1] = table.concat(texts, "\t")
  end
end

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
  return (text_of(err):gsub("^repl:1: ", ""))
end

local function answer(out, ok, results)
  if ok then
    out[#out + 1] = results.n > 0 and print.results(results) or nil
  else
    out[#out + 1] = tidy(results[1])
  end
  local text = table.concat(out, "\n")
  if #text > OUTPUT_MAX then
    text = text:sub(1, OUTPUT_MAX) .. "\n… cut off"
  end
  return { ok = ok, text = text }
end

local function run_limited(chunk, budget)
  local deadline = luv.hrtime() + budget * 1e6
  local co = coroutine.create(chunk)
  jit.off()
  debug.sethook(co, function()
    if luv.hrtime() > deadline then
      debug.sethook(co)
      error(("stopped after %d ms"):format(budget), 2)
    end
  end, "", CHECK_EVERY)
  local results = pack(coroutine.resume(co))
  debug.sethook(co)
  jit.on()
  local ok = table.remove(results, 1)
  results.n = results.n - 1
  if ok and coroutine.status(co) ~= "dead" then
    ok, results = false, pack "cannot wait here; use :wait EXPRESSION"
  elseif not ok and text_of(results[1]):find("wait", 1, true) then
    results[1] = text_of(results[1]) .. " (use :wait EXPRESSION for what waits)"
  end
  return ok, results
end

local function run_task(chunk)
  local failed
  local safe = guard.new(chunk, "what was typed into the REPL", function()
    failed = true
  end, { error = function(_, text)
    failed = text
  end })
  local results = pack(safe())
  if failed then
    return false, pack(failed)
  end
  return true, results
end

--- Evaluate a text: an expression, or statements.
-- @param options nil or { wait = true: it may wait; call from a task then }
-- @return { ok, text } | { more = true } when the text is not complete
function M.run(text, options)
  local chunk, err, more = compile(text)
  if not chunk then
    return more and { more = true } or { ok = false, text = tidy(err) }
  end
  local out = {}
  env.print = capture(out)
  if options and options.wait then
    return answer(out, run_task(chunk))
  end
  local budget = process.id() == 0 and BUDGET_MS.control or BUDGET_MS.worker
  return answer(out, run_limited(chunk, budget))
end

--- Collect all garbage of this VM.  @return { KiB before, KiB after }
function M.collect()
  local before = collectgarbage "count"
  process.trim()
  return { before, collectgarbage "count" }
end

-- The value that "a.b:c" leads to, without calling anything but what indexing calls.
local function walk(path)
  local value = env
  for name in path:gmatch "[^.:]+" do
    local ok, found = pcall(function()
      return value[name]
    end)
    if not ok or found == nil then
      return nil
    end
    value = found
  end
  return value
end

local function add_keys(value, prefix, found, depth)
  if type(value) == "table" then
    for key in next, value do
      if type(key) == "string" and key:find "^[%a_][%w_]*$" and key:sub(1, #prefix) == prefix then
        found[key] = true
      end
    end
  end
  local mt = depth > 0 and (type(value) == "string" and getmetatable "" or debug.getmetatable(value))
  local index = type(mt) == "table" and rawget(mt, "__index")
  if type(index) == "table" then
    add_keys(index, prefix, found, depth - 1)
  end
end

local KEYWORDS = {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not",
  "or", "repeat", "return", "then", "true", "until", "while",
}

--- What a line could go on with.
-- @return the word being typed, a sorted list of whole words for it
function M.complete(line)
  local path, separator, prefix = line:match "([%a_][%w_.:]-)([.:])([%w_]*)$"
  local found = {}
  if path then
    add_keys(walk(path), prefix, found, 5)
  else
    prefix, separator = line:match "[%a_][%w_]*$" or "", ""
    for _, names in ipairs { env, provided, _G } do
      add_keys(names, prefix, found, 0)
    end
    for _, word in ipairs(KEYWORDS) do
      found[word] = word:sub(1, #prefix) == prefix and prefix ~= "" or found[word]
    end
  end
  local list = {}
  for word, is in pairs(found) do
    list[#list + 1] = is and (path and path .. separator or "") .. word or nil
  end
  table.sort(list)
  return (path and path .. separator or "") .. prefix, list
end

return M
