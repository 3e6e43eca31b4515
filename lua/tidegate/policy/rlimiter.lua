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

-- The bucket of a key, filled at a rate.
local function bucket_of(name, held, key, rate)
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
  return entry.bucket
end

function methods:allow(ctx)
  local rules, name = self.rules, self.name
  local all, own = rules.all, rules.special and rules:find(ctx.client_ip or "") or rules.each
  if not all and not own then
    return true
  end
  local held = buckets:of(name)
  local shared_one = all and bucket_of(name, held, "$", all)
  local own_one = own and bucket_of(name, held, keys.client_key(ctx), own)
  if not own_one then
    return shared_one:take_all(UNIT)
  elseif not shared_one then
    return own_one:take_all(UNIT)
  elseif all <= own then
    return shared_one:take_all(UNIT, own_one)
  end
  return own_one:take_all(UNIT, shared_one)
end

--- Give a service its rate limiter.
function M.attach(service, config)
  if config.rlimiter and config.rlimiter ~= "" then
    service.rlimiter = service.registry.rlimiters[config.rlimiter]
  end
  return true
end

return M
