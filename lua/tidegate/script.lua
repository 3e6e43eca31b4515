-- Scripts: how they are loaded, and what `require "tidegate"` means.
--
-- A script runs in the control thread, which takes the configuration it declares, and again in every
-- worker, which takes the functions.  What it registers lies in a set (tidegate.script.set) that goes
-- away with the generation.  This module itself stands for the functions of the set in force.

local face = require "tidegate.script.face"
local failure = require "tidegate.failure"
local guard = require "tidegate.script.guard"
local luv = require "luv"
local process = require "tidegate.native.process"
local rocks = require "tidegate.script.rocks"
local sets = require "tidegate.script.set"
local watchdog = require "tidegate.native.watchdog"

local BUDGET = 5 -- seconds a script may take to load
local CHECK_EVERY = 10000 -- instructions

local M = {}

local current -- the face of the set loaded last

-- Loading -----------------------------------------------------------------------------------------

local function limit(deadline)
  return function()
    if luv.hrtime() > deadline then
      debug.sethook()
      error(("did not finish loading within %d s"):format(BUDGET), 2)
    end
  end
end

-- Compiled code never calls the hook, so the compiler rests meanwhile.  The watchdog, whose limit is that of functions,
-- rests too: what is loaded may be known to it from the generation before, and modules are known once they are loaded.
local function run_limited(chunk)
  local co = coroutine.create(chunk)
  jit.off()
  watchdog.spare(true)
  debug.sethook(co, limit(luv.hrtime() + BUDGET * 1e9), "", CHECK_EVERY)
  local ok, result = coroutine.resume(co)
  debug.sethook(co)
  watchdog.spare(false)
  jit.on()

  if not ok then
    return nil, failure.new("config", tostring(result))
  elseif coroutine.status(co) ~= "dead" then
    return nil, failure.new("config", "must not wait while it loads; use tg.spawn()")
  end
  return true, result
end

local function folder_of(path)
  return path:match("^(.*/)[^/]*$") or "./"
end

-- Modules beside the script come first; they share its environment, and are loaded anew with it.
local function make_require(set, env, tg, folder)
  local search = folder .. "?.lua;" .. folder .. "?/init.lua;" .. package.path
  return function(name)
    if name == "tidegate" then
      return tg
    elseif set.modules[name] ~= nil then
      return set.modules[name]
    end
    local path = type(name) == "string" and not name:find("^tidegate%.") and not package.preload[name]
      and package.loaded[name] == nil and package.searchpath(name, search)
    if not path then
      return require(name)
    end
    local chunk, err = loadfile(path)
    if not chunk then
      error(err, 0)
    end
    jit.off(chunk, true)
    local value = setfenv(chunk, env)(name)
    guard.know_file(path, "script " .. path)
    set.modules[name] = value == nil and true or value
    return set.modules[name]
  end
end

local function make_environment(set, tg, folder)
  local env = setmetatable({}, { __index = _G })
  env._G = env
  env.require = make_require(set, env, tg, folder)
  return env
end

local function read(path)
  local file, err = io.open(path, "rb")
  if not file then
    return nil, failure.new("config", tostring(err))
  end
  local text
  text, err = file:read("*a")
  file:close()
  if not text then
    return nil, failure.new("config", ("%s: %s"):format(path, tostring(err)))
  end
  return text
end

-- Run a file into a set.  @return true, what the file returned | nil, err
local function run_file(set, path, source)
  rocks.use()
  local err
  if not source then
    source, err = read(path)
    if not source then
      return nil, err
    end
  end
  if source:sub(1, 1) == "\27" then
    return nil, failure.new("config", path .. ": is bytecode, not a script")
  end
  local chunk
  chunk, err = loadstring(source:gsub("^#[^\n]*", "--"), "@" .. path)
  if not chunk then
    return nil, failure.new("config", tostring(err))
  end

  jit.off(chunk, true) -- what is compiled could not be interrupted, see runtime/watchdog
  set.stem = path:match("([^/]+)$"):gsub("%.lua$", "")
  local tg = face.new(set)
  current = tg
  setfenv(chunk, make_environment(set, tg, folder_of(path)))
  local ok, result = run_limited(chunk)
  guard.know_file(path, "script " .. path)
  if not ok then
    if not tostring(result):find(path, 1, true) then
      result = failure.new("config", ("%s: %s"):format(path, tostring(result)))
    end
    return nil, result
  end
  return true, result
end

-- Control thread ----------------------------------------------------------------------------------

local evaluated = {} -- path → set

-- Declared objects come before those in the table a script returns.
local function join(config, returned)
  for key, value in pairs(returned) do
    local declared = config[key]
    if declared and type(value) == "table" then
      for _, item in ipairs(value) do
        declared[#declared + 1] = item
      end
    else
      config[key] = value
    end
  end
  for key, value in pairs(config) do
    if type(value) == "table" and next(value) == nil then
      config[key] = nil
    end
  end
  return config
end

--- Run a script for the configuration it declares, in the control thread.  Its components are known
-- from now on; what an earlier run of the same file registered is gone.
-- @param path of the file; relative ones are meant from the working directory
-- @param source its text, when that comes from elsewhere
-- @return configuration in gost's schema (durations are numbers of seconds, or texts), with the file
--   in its list `scripts` | nil, err
function M.evaluate(path, source)
  if evaluated[path] then
    evaluated[path]:drop()
  end
  local set = sets.new()
  local ok, result = run_file(set, path, source)
  if ok and result ~= nil and type(result) ~= "table" then
    ok, result = nil, failure.new("config", ("%s: must return a table or nothing"):format(path))
  end
  if not ok then
    set:drop()
    evaluated[path] = nil
    return nil, result
  end
  evaluated[path] = set
  local config = join(set.config, result or {})
  config.scripts = config.scripts or {}
  table.insert(config.scripts, 1, path)
  return config
end

--- What scripts that were evaluated define for others to name.
-- @param paths their files
-- @return { strategies = { name → function }, filters = the same }
function M.defined(paths)
  local found = { strategies = {}, filters = {} }
  for _, path in ipairs(paths) do
    for kind, names in pairs(found) do
      for name, fn in pairs(evaluated[path] and evaluated[path][kind] or {}) do
        names[name] = fn
      end
    end
  end
  return found
end

-- Workers -----------------------------------------------------------------------------------------

--- Run the scripts of a configuration in a worker.
-- @param paths list, or nil
-- @return the set they filled | nil, err
function M.load(paths)
  local set = sets.new()
  set.worker = process.id()
  set.stem = "script"
  current = face.new(set) -- for the REPL, where there is no script
  for _, path in ipairs(paths or {}) do
    local ok, err = run_file(set, path)
    if not ok then
      set:drop()
      return nil, err
    end
  end
  return set
end

--- What scripts see, of the set loaded last.
function M.face()
  return current
end

return setmetatable(M, {
  __index = function(_, key)
    return current and current[key]
  end,
})
