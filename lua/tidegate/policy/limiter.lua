-- Traffic limiters: bytes per second of services, connections, clients and networks.
--
-- A limiter is a table with `limit(self, subject, scope)` → in, out[, burst]: bytes per second (numbers, or
-- texts with units; 0: no limit), or nothing when it does not know.  `subject` has the fields service,
-- network, target, client, client_ip, user and sid of a connection; `scope` is "service", "conn" or "client"
-- (a user of the handler).  Limiters of rules are asked for the scope "ip" as well.

local keys = require "tidegate.policy.limit.keys"
local live = require "tidegate.policy.limit.live"
local metadata = require "tidegate.metadata"
local ruled = require "tidegate.policy.limit.ruled"
local units = require "tidegate.policy.limit.units"

local M = {
  kind = "limiter",
  list = "limiters",
  main = "limit",
  loader = {
    redis = "set",
    types = { list = true },
    comments = "any",
    item = function(text)
      local rest = text:match "^[^#]*"
      return rest:find "%S" and rest or nil
    end,
  },
}

--- Settings of services and handlers.
M.METADATA = {
  ["limiter.refreshInterval"] = { type = "duration", default = 30, doc = "how long an answer of the limiter holds" },
  ["limiter.cleanupInterval"] = { type = "duration", default = 60, doc = "how long absent clients are remembered" },
  ["limiter.scope"] = { type = "string", default = "", doc = "service or conn: the only level that is limited" },
}

local SHORTEST = 1 -- seconds
local AT = ("@"):byte() -- Unix sockets have clients without names

-- Rules ------------------------------------------------------------------------------------------

local methods = { static = true, by_ip = true }
local mt = { __name = "tidegate.limiter", __index = methods }

local function rule_of(words, tell)
  local rule = {}
  for i, field in ipairs { "ingress", "egress", "burst" } do
    local good
    rule[field], good = units.limit(words[i + 1])
    if not good and tell then
      tell(("%q is no amount of bytes: no limit"):format(words[i + 1]))
    end
  end
  return rule
end

-- Names of users are keys as well, an extension: what is no address belongs to the scope "client".
local function read_users(config, loaded)
  local users = {}
  for _, lines in ipairs { config.limits or {}, loaded.file or {}, loaded.redis or {}, loaded.http or {} } do
    for _, line in ipairs(lines) do
      local key, rest = line:match "^%s*(%S+)%s+(.+)$"
      if key and not keys.new():set(key, true) then
        local words = { key }
        for word in rest:gmatch "%S+" do
          words[#words + 1] = word
        end
        users[key] = rule_of(words)
      end
    end
  end
  return users
end

ruled.define(M, mt, function(self, loaded, tell)
  self.users = read_users(self.config, loaded)
  self.rules = keys.read(self.config, loaded, function(words)
    return rule_of(words, tell)
  end, tell, function(key)
    return self.users[key]
  end)
end, live.renew_if_current)

local function rates(rule)
  if rule then
    return rule.ingress, rule.egress, rule.burst
  end
end

function methods:limit(subject, scope)
  local rules = self.rules
  if scope == "service" then
    return rates(rules.all)
  elseif scope == "conn" then
    return rates(rules.each)
  elseif scope == "ip" then
    return rates(rules:find(subject.client_ip or ""))
  end
  return rates(self.users[subject.user or ""])
end

--- What a script says are amounts of bytes, or nothing.
function M.answer(...)
  for i = 1, math.min(select("#", ...), 3) do
    local value = select(i, ...)
    if value ~= nil and not select(2, units.limit(value)) then
      return "an amount of bytes", value
    end
  end
end

-- Use --------------------------------------------------------------------------------------------

local function times_of(config)
  local md = metadata.parse(M.METADATA, config.metadata)
  return {
    refresh = math.max(md["limiter.refreshInterval"] or 0, SHORTEST),
    cleanup = math.max(md["limiter.cleanupInterval"] or 0, SHORTEST),
  }, md["limiter.scope"] or ""
end

local function named(limiters, name)
  local limiter = limiters[name]
  if limiter and not limiter.name then
    limiter.name = name
  end
  return limiter
end

--- Give a service its limiters: `service.limiter` and `service.client_limiter`.
function M.attach(service, config)
  local limiters = service.registry.limiters
  local handler = config.handler or {}
  if config.limiter and config.limiter ~= "" then
    service.limiter = named(limiters, config.limiter)
    service.limiter_times, service.limiter_scope = times_of(config)
  end
  if handler.limiter and handler.limiter ~= "" then
    service.client_limiter = named(limiters, handler.limiter)
    service.client_times = times_of(handler)
    service.late_meters = service.client_limiter ~= nil or service.late_meters
  end
  return true
end

--- The service is in force from now on.
function M.begin(service)
  for _, limiter in ipairs { service.limiter or false, service.client_limiter or false } do
    if limiter then
      live.renew(limiter)
    end
  end
end

local function add(ctx, limiter, scope, key, times)
  local meter = live.meter(limiter, ctx, scope, key, times)
  if meter then
    ctx:add_meter(meter)
  end
end

local NOBODY = {} -- whose connection is limited where that does not matter

-- Which levels a service is limited at: the service, the connection.
local function levels_of(service)
  local only = service.limiter_scope
  return only == "" or only == "service", only == "" or only == "conn"
end

--- Add the meters to a list that limit all connections of a service alike: those of rules which ask for
-- nothing.  They change with limiter.rules.
-- @return whether there may be others, see accepted()
function M.common(service, list)
  local limiter, times = service.limiter, service.limiter_times
  if not limiter or not live.is_static(limiter) then
    return limiter ~= nil
  end
  local of_service, of_connection = levels_of(service)
  if of_service then
    list[#list + 1] = live.meter(limiter, NOBODY, "service", "$", times)
  end
  if of_connection then
    list[#list + 1] = live.meter(limiter, NOBODY, "conn", live.EACH, times)
  end
  return of_connection and limiter.by_ip and limiter.rules:by_ip() or false
end

--- Limit an accepted connection: what common() does not say.  Scripts and plugins are asked for each.
function M.accepted(ctx)
  local service = ctx.service
  local limiter, times = service.limiter, service.limiter_times
  local of_service, of_connection = levels_of(service)
  if not live.is_static(limiter) then
    if of_service then
      add(ctx, limiter, "service", service.name, times)
    end
    if of_connection then
      add(ctx, limiter, "conn", ctx.client:byte() == AT and ctx.sid or ctx.client, times)
    end
  end
  if of_connection and limiter.by_ip and limiter.rules:by_ip() then
    add(ctx, limiter, "ip", keys.client_key(ctx), times)
  end
end

--- @return whether somebody is asked what a client may do: a script or plugin
function M.asks(service)
  local limiter = service.client_limiter
  return limiter ~= nil and not live.is_static(limiter)
end

--- Limit a client that has shown who it is.
function M.authenticated(ctx)
  local limiter = ctx.service.client_limiter
  if limiter and ctx.user and ctx.user ~= "" then
    add(ctx, limiter, "client", ctx.user, ctx.service.client_times)
  end
end

return M
