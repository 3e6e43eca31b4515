-- What is kept per key (a client's buckets) in one worker, and forgotten when it is of no use any more.

local task = require "tidegate.native.task"
local uv = require "luv"

local M = {}
local methods = {}
local mt = { __index = methods }

local TICK_MS = 1000
local SLICE = 1000 -- entries looked at in one go

local caches = {} -- those that have entries
local timer -- runs while there are any

-- Look at some entries of a cache, from where the last look ended.
local function look(cache)
  local now, key, entry = task.now(), cache.at, nil
  if key ~= nil and cache.entries[key] == nil then
    key = nil -- it has gone: begin anew
  end
  for _ = 1, math.max(SLICE, cache.count / 10) do
    key, entry = next(cache.entries, key)
    if key == nil then
      break
    elseif cache.idle(entry, now) then
      cache.entries[key] = nil -- next() still knows the place
      cache.count = cache.count - 1
    end
  end
  cache.at = key
  if cache.count == 0 then
    cache.at = nil
    caches[cache] = nil
  end
end

local function on_timer()
  for cache in pairs(caches) do
    look(cache)
  end
  if not next(caches) then
    timer:stop()
    timer:close()
    timer = nil
  end
end

--- @param idle function(entry, now) → true to forget it; called every second, must not wait
function M.new(idle)
  return setmetatable({ entries = {}, count = 0, idle = idle }, mt)
end

local names_mt = { __index = {} }

--- Caches by the name of an object, all with the same rules.
function M.by_name(idle)
  return setmetatable({ idle = idle, caches = {} }, names_mt)
end

--- The cache of an object.
function names_mt.__index:of(name)
  local cache = self.caches[name]
  if not cache then
    cache = M.new(self.idle)
    self.caches[name] = cache
  end
  return cache
end

function methods:get(key)
  return self.entries[key]
end

--- Keep an entry under a key that has none.
function methods:add(key, entry)
  self.entries[key] = entry
  self.count = self.count + 1
  caches[self] = true
  if not timer then
    timer = uv.new_timer()
    timer:start(TICK_MS, TICK_MS, on_timer)
    timer:unref()
  end
end

--- Entries by key, not to be changed while one waits.
function methods:all()
  return self.entries
end

return M
