-- What counts and limits a connection: meters that the service gives to all, and those that limiters
-- and quotas choose for this one.

local climiter = require "tidegate.policy.climiter"
local failure = require "tidegate.failure"
local limiter = require "tidegate.policy.limiter"
local meter = require "tidegate.native.meter"

local M = {}

local function attach(ctx, one)
  local meters = rawget(ctx, "meters")
  if not meters or meters.common then -- that list is for all connections
    meters = { meters and meters[1] }
    ctx.meters = meters
  end
  meters[#meters + 1] = one
  local stream = ctx.stream
  if stream and stream.add_meter then
    stream:add_meter(one)
  end
end

-- What all connections of a service have is one meter, in a list, made again when the limiter has new rules.
local function common_of(service)
  local limits = service.limiter
  local rules = limits and limits.rules
  local held = service.common_meters
  if held and held.rules == rules then
    return held
  end
  local parts = { unpack(service.meters) }
  local others = limiter.common(service, parts)
  held = { common = true, rules = rules, others = others, parts[1] }
  if #parts > 1 then
    held[1] = meter.new()
    for i = 1, #parts do
      held[1]:include(parts[i])
    end
  end
  service.common_meters = held
  return held
end

--- Count and limit a connection by one more meter, until it is over; also while a relay has it.  After the
-- accept this needs `service.late_meters`: by then the stream may be part of another.
function M.add(ctx, one)
  local own = rawget(ctx, "own_meter")
  if own then
    own:include(one)
  else
    attach(ctx, one)
  end
end

--- A connection was accepted and admitted.
-- @return true | nil, err: there are too many
function M.accepted(ctx)
  local service = ctx.service
  if service.climiter and not climiter.take(service.climiter, service.climiter_name, ctx) then
    return nil, failure.new("limit", ("climiter: %s: too many connections"):format(ctx.client), { level = "debug" })
  end
  local common = common_of(service)
  local one = common[1]
  if one and rawget(ctx, "meters") then
    attach(ctx, one)
  elseif one then
    ctx.meters = common
    local stream = ctx.stream
    if stream.add_meter then
      stream:add_meter(one)
    end
  end
  if common.others then
    limiter.accepted(ctx)
  end
  if service.late_meters then
    ctx.own_meter = ctx:own(meter.new())
    attach(ctx, ctx.own_meter)
  end
  return true
end

--- Its handler is about to begin.
-- @return true | nil, err: there were too many lately
function M.allowed(ctx)
  local rlimiter = ctx.service.rlimiter
  if rlimiter and not rlimiter:allow(ctx) then
    return nil, failure.new("limit", ("rate limit: %s"):format(ctx.client), { level = "debug" })
  end
  return true
end

--- The client has shown who it is.  Limiters that are asked anew each time want to know where it goes as well.
function M.authenticated(ctx)
  if limiter.asks(ctx.service) then
    ctx.unlimited = true
  else
    limiter.authenticated(ctx)
  end
end

--- It is known, and allowed, where the client goes.
function M.directed(ctx)
  if rawget(ctx, "unlimited") then
    ctx.unlimited = nil
    limiter.authenticated(ctx)
  end
end

--- Options of a relay of datagrams with the meters of the connection.
function M.packet_options(ctx, options)
  local meters = rawget(ctx, "meters")
  if not meters then
    return options
  end
  local all = {}
  for key, value in pairs(options or {}) do
    all[key] = value
  end
  all.meters = meters
  return all
end

return M
