-- Connection limiters: how many connections there may be at once, in all and of each client.
--
-- A connection limiter is a table with `limit(self, ctx, key)` → most connections, or nil for no limit; the
-- key is "$" for all together, else that of a client (its IP).  The counts are one for all workers.

local keys = require "tidegate.policy.limit.keys"
local meter = require "tidegate.native.meter"
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

local function set_rules(self, loaded)
  self.rules = keys.read(self.config, loaded or {}, whole, function(line)
    if self.log then
      self.log:warn(("climiter: the line %q makes no sense"):format(line))
    end
  end)
end

function methods:limit(ctx, key)
  local rules = self.rules
  if key == "$" then
    return rules.all
  end
  local own = rules:find(ctx.client_ip or "")
  return own or rules.each
end

--- New items of its sources.
function methods:load(data)
  set_rules(self, data)
end

--- A connection limiter of the configuration.
function M.new(config, env)
  local self = setmetatable({ name = config.name, config = config, log = env.log }, mt)
  set_rules(self, env.data)
  return self
end

--- A connection limiter of a script: limit(ctx, key).
function M.scripted(object)
  return object
end

--- Give a service its connection limiter.
function M.attach(service, config)
  local name = config.climiter
  if name and name ~= "" then
    service.climiter, service.climiter_name = service.registry.climiters[name], name
  end
  return true
end

local totals = {} -- limiter name → the count of all its connections

local function counter_of(name, key)
  if key ~= "$" then
    return shared.counter(keys.name("climiter", name, key))
  end
  local count = totals[name]
  if not count then
    count = shared.counter(keys.name("climiter", name, key))
    totals[name] = count
  end
  return count
end

-- @return whether there was room
local function take(ticket, name, key, most)
  if not most or most <= 0 then
    return true
  end
  local count = counter_of(name, key)
  if not count:take(most) then
    return false
  end
  ticket:slot(count)
  return true
end

--- Take a place for a connection.
-- @return a meter: the place is free again when it is closed and no stream has it any more | nil: no room
function M.take(limiter, name, ctx)
  local ticket, key = meter.new(), keys.client_key(ctx)
  if take(ticket, name, "$", limiter:limit(ctx, "$")) and take(ticket, name, key, limiter:limit(ctx, key)) then
    return ticket
  end
  ticket:close()
  return nil
end

return M
