-- Connection limiters: how many connections there may be at once, in all and of each client.
--
-- A connection limiter is a table with `limit(self, ctx, key)` → most connections, or nil for no limit; the
-- key is "$" for all together, else that of a client (its IP).  The counts are one for all workers.

local cache = require "tidegate.policy.limit.cache"
local guard = require "tidegate.script.guard"
local keys = require "tidegate.policy.limit.keys"
local ruled = require "tidegate.policy.limit.ruled"
local shared = require "tidegate.native.shared"

local M = {
  kind = "climiter",
  list = "climiters",
  main = "limit",
  loader = { redis = "set", types = { list = true }, comments = "any" },
}

local methods = {}
local mt = { __name = "tidegate.climiter", __index = methods }

local function whole(words)
  local n = words[2]:match "^[+-]?%d+$" and tonumber(words[2])
  return n and n > 0 and n or nil
end

ruled.define(M, mt, function(self, loaded, tell)
  self.rules = keys.read(self.config, loaded, whole, tell)
end)

function methods:limit(ctx, key)
  local rules = self.rules
  if key == "$" then
    return rules.all
  end
  local own = rules:find(ctx.client_ip or "")
  return own or rules.each
end

--- What a script says is a number, or nothing.
M.answer = guard.wants("number", "a number of connections")

--- Give a service its connection limiter.
function M.attach(service, config)
  local name = config.climiter
  if name and name ~= "" then
    service.climiter, service.climiter_name = service.registry.climiters[name], name
  end
  return true
end

-- The counters in use here: limiter → client → counter, until nobody of it is connected.
local counters = cache.by_name(function(counter)
  return counter:get() <= 0
end)

local function counter_of(name, held, key)
  local counter = held:get(key)
  if not counter then
    counter = shared.counter(keys.name("climiter", name, key))
    held:add(key, counter)
  end
  return counter
end

local place_mt = { __index = {} }

function place_mt.__index:close()
  self.counter:add(-1)
end

-- @return whether there was room
local function take(ctx, name, held, key, most)
  if not most or most <= 0 then
    return true
  end
  local counter, stream = counter_of(name, held, key), ctx.stream
  if stream.hold then
    return stream:hold(counter, most) or false
  elseif counter:take(most) then
    ctx:own(setmetatable({ counter = counter }, place_mt))
    return true
  end
  return false
end

-- Whose limits are lines, which need not be asked for one after the other.
local function is_plain(limiter)
  return getmetatable(limiter) == mt and rawget(limiter, "limit") == nil
end

--- Take a place for a connection, which its stream has until it is closed, wherever that goes.
-- @return whether there was room; who found none is to be closed
function M.take(limiter, name, ctx)
  local key, held, stream = keys.client_key(ctx), counters:of(name), ctx.stream
  if stream.hold and is_plain(limiter) then
    local rules = limiter.rules
    local all, own = rules.all, rules.special and rules:find(ctx.client_ip or "") or rules.each
    if all and own then
      return stream:hold(counter_of(name, held, "$"), all, counter_of(name, held, key), own) or false
    end
  end
  return take(ctx, name, held, "$", limiter:limit(ctx, "$")) and take(ctx, name, held, key, limiter:limit(ctx, key))
end

return M
