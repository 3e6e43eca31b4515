-- Caches of byte strings, used for HTTP responses.
--
-- A cache has `get(key)` → bytes, fresh | nil, `set(key, bytes, ttl)` and `delete(key)`.  The one in memory
-- is one for all workers and survives a reload; the one in Redis is shared with whoever uses the same keys.

local failure = require "tidegate.failure"
local guard = require "tidegate.script.guard"
local health = require "tidegate.process.health"
local keys = require "tidegate.policy.limit.keys"
local memory = require "tidegate.native.cache"
local task = require "tidegate.native.task"

local M = {}

M.kind = "cache"
M.list = "caches"
M.main = "get"

local PREFIX = "gost:cache:"
local TIMEOUT = 1 -- seconds a request may lose to a Redis that hangs
local REST_MS = 2000 -- in which one that failed is left alone

-- Memory -----------------------------------------------------------------------------------------

local memory_methods = {}
local memory_mt = { __name = "tidegate.cache.memory", __index = memory_methods }

local function count(value)
  return value and value > 0 and value or 0
end

local function keep_sweeping(self, interval)
  while not self.closed do
    self.alarm:wait(task.now() + interval * 1000)
    if not self.closed then
      self.store:sweep()
    end
  end
end

local function open_memory(config, name)
  local self = setmetatable({ store = memory.open(keys.name("cache", name, "")), ttl = config.ttl or 0 }, memory_mt)
  self.store:configure(count(config.maxSize), count(config.maxBytes), config.eviction == "lru")
  if count(config.cleanupInterval) > 0 then
    self.alarm = task.waiter()
    task.spawn(keep_sweeping, self, config.cleanupInterval)
  end
  return self
end

--- @return bytes, whether they are fresh | nil
function memory_methods:get(key)
  return self.store:get(key)
end

--- @param ttl seconds; nil: the cache's own, 0 or less: for ever
function memory_methods:set(key, bytes, ttl)
  return self.store:set(key, bytes, count(ttl or self.ttl))
end

function memory_methods:delete(key)
  return self.store:delete(key)
end

function memory_methods:close()
  self.closed = true
  if self.alarm then
    self.alarm:wake()
  end
end

-- Redis ------------------------------------------------------------------------------------------

local redis_methods = {}
local redis_mt = { __name = "tidegate.cache.redis", __index = redis_methods }

local function open_redis(config, env)
  local client, err = require("tidegate.net.redis").open {
    addr = config.addr,
    db = config.db,
    username = config.username,
    password = config.password,
    timeout = TIMEOUT,
  }
  if not client then
    return nil, err
  end
  return setmetatable({
    client = client,
    ttl = config.ttl or 0,
    prefix = config.key and config.key ~= "" and config.key or PREFIX,
    health = health.new("cache/" .. env.name, "cache " .. env.name, env.log),
  }, redis_mt)
end

-- A command; a Redis that fails is as if nothing were cached.
local function ask(self, ...)
  if self.rests_until and task.now() < self.rests_until then
    return nil
  end
  local reply, err = self.client:call(...)
  err = failure.is(reply) and reply or err
  if err then
    self.health:bad(err, "nothing is cached")
    self.rests_until = task.now() + REST_MS
    return nil
  end
  self.health:good()
  return reply
end

function redis_methods:get(key)
  local bytes = ask(self, "GET", self.prefix .. key)
  if type(bytes) == "string" then
    return bytes, true -- what has expired is gone
  end
end

function redis_methods:set(key, bytes, ttl)
  ttl = ttl or self.ttl
  if ttl > 0 then
    return ask(self, "SET", self.prefix .. key, bytes, "PX", ("%d"):format(math.max(ttl * 1000, 1))) ~= nil
  end
  return ask(self, "SET", self.prefix .. key, bytes) ~= nil
end

function redis_methods:delete(key)
  return ask(self, "DEL", self.prefix .. key) == 1
end

function redis_methods:close()
  self.client:close()
end

-- The kind ---------------------------------------------------------------------------------------

local nothing_mt = { __name = "tidegate.cache.none", __index = {
  get = function() end,
  set = function()
    return false
  end,
  delete = function()
    return false
  end,
  close = function() end,
} }

--- A cache of the configuration: memory before Redis.
-- @return cache | nil, err
function M.new(config, env)
  local name = config.name or ""
  if config.memory then
    return open_memory(config.memory, name)
  elseif config.redis then
    return open_redis(config.redis, { name = name, log = env.log })
  end
  return setmetatable({}, nothing_mt)
end

M.answer = guard.wants("string", "text")

--- Give a service its cache.
function M.attach(service, config)
  if config.cache and config.cache ~= "" then
    service.cache = service.registry.caches[config.cache]
  end
  return true
end

return M
