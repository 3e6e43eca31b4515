-- Rate limiters: how many connections a second a handler begins with.
--
-- A rate limiter is a table with `allow(self, ctx)` → whether this one may go on.

local cache = require "tidegate.policy.limit.cache"
local keys = require "tidegate.policy.limit.keys"
local ruled = require "tidegate.policy.limit.ruled"
local shared = require "tidegate.native.shared"
local task = require "tidegate.native.task"

local M = {
  kind = "rlimiter",
  list = "rlimiters",
  main = "allow",
  on_error = true,
  on_errors = { open = true, closed = false },
  loader = { redis = "set", types = { list = true }, comments = "any" },
}

-- Tokens are counted in thousandths, so that a rate may be a fraction.
local UNIT = 1000
local MAX = 1e7 -- a second

local methods = {}
local mt = { __name = "tidegate.rlimiter", __index = methods }

local function rate_of(words)
  local rate = tonumber(words[2])
  return rate and rate > 0 and math.min(rate, MAX) or nil
end

ruled.define(M, mt, function(self, loaded, tell)
  self.rules = keys.read(self.config, loaded, rate_of, tell)
end)

-- Buckets of this worker's clients: held until they have filled up.
local buckets = cache.by_name(function(entry, now)
  return now > entry.used and entry.bucket:is_full()
end)

local function take(name, held, key, rate)
  local entry = held:get(key)
  if not entry then
    entry = { bucket = shared.bucket(keys.name("rlimiter", name, key)) }
    held:add(key, entry)
  end
  if entry.rate ~= rate then
    entry.rate = rate
    entry.bucket:configure(math.max(math.floor(rate * UNIT), 1), (math.floor(rate) + 1) * UNIT)
  end
  entry.used = task.now()
  return entry.bucket:take_all(UNIT)
end

function methods:allow(ctx)
  local rules = self.rules
  local all, own = rules.all, rules:find(ctx.client_ip or "") or rules.each
  local name = self.name
  local key, held = own and keys.client_key(ctx), buckets:of(name)
  if all and own and all <= own then
    return take(name, held, "$", all) and take(name, held, key, own)
  end
  return (not own or take(name, held, key, own)) and (not all or take(name, held, "$", all))
end

--- Give a service its rate limiter.
function M.attach(service, config)
  if config.rlimiter and config.rlimiter ~= "" then
    service.rlimiter = service.registry.rlimiters[config.rlimiter]
  end
  return true
end

return M
