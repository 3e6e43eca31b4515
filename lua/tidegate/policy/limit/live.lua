-- Buckets in use: for every limiter, scope and key one meter with a bucket for each direction.
--
-- The buckets are one for all workers; the meters are this worker's.  A bucket is kept until nobody uses
-- it and it has filled up again, so that coming back early brings nothing.  Limits are asked for again
-- now and then, and when the configuration has changed: new ones apply to whoever has the meter.

local cache = require "tidegate.policy.limit.cache"
local keys = require "tidegate.policy.limit.keys"
local meter = require "tidegate.native.meter"
local shared = require "tidegate.native.shared"
local task = require "tidegate.native.task"
local units = require "tidegate.policy.limit.units"

local M = {}

--- The key for connections whose limits are the same: each has them for itself.
M.EACH = "$$"

local GRACE_MS = 60000 -- until a session of datagrams, whose meters come with its relay, should have one
local MAX_ASKING = 32 -- questions to scripts and plugins at once

local states = {} -- limiter name → { object, cache }
local asking = 0

local function configure(entry, ingress, egress, burst)
  if ingress == nil and egress == nil then
    return -- no answer: what was known holds
  end
  local size = units.limit(burst)
  local in_rate, out_rate = units.limit(ingress), units.limit(egress)
  if entry.in_rate == in_rate and entry.out_rate == out_rate and entry.burst == size then
    return
  end
  entry.in_rate, entry.out_rate, entry.burst = in_rate, out_rate, size
  if entry.ingress then
    entry.ingress:configure(in_rate, size)
    entry.egress:configure(out_rate, size)
  else
    entry.meter:rate("in", in_rate, size):rate("out", out_rate, size)
  end
end

--- @return whether a limiter has rules, which do not change by themselves, and no script around it
function M.is_static(limiter)
  return limiter.static and not rawget(limiter, "limit") or false
end

local function ask(state, entry)
  entry.asked = task.now()
  local ingress, egress, burst = state.object:limit(entry.subject, entry.scope)
  if ingress == nil and egress == nil and M.is_static(state.object) then
    ingress, egress = 0, 0 -- the rule has gone
  end
  configure(entry, ingress, egress, burst)
end

-- Ask a script or plugin in a task of its own.
local function ask_aside(state, entry)
  if asking >= MAX_ASKING then
    return
  end
  asking = asking + 1
  entry.asked = task.now()
  task.spawn(function()
    local ok, err = pcall(ask, state, entry)
    asking = asking - 1
    if not ok then
      error(err, 0)
    end
  end)
end

local function is_idle(state, entry, now)
  if entry.meter:users() > 0 then
    entry.used = now
    if now >= entry.asked + entry.refresh * 1000 then
      ask_aside(state, entry)
    end
    return false
  end
  if not entry.ingress then
    return now >= entry.used + entry.grace
  end
  return now >= entry.used + entry.cleanup * 1000 and entry.ingress:is_full() and entry.egress:is_full()
end

local function new_state(name)
  local state = {}
  state.cache = cache.new(function(entry, now)
    return is_idle(state, entry, now)
  end)
  states[name] = state
  return state
end

local function state_of(name)
  return states[name] or new_state(name)
end

-- A connection has its buckets for itself, by a rule for all of them or by one of its own; all others are
-- one for all workers, by name.
local function new_entry(name, scope, key, subject)
  local now = task.now()
  local entry = { scope = scope, subject = subject, used = now, asked = now, meter = meter.new() }
  if scope ~= "conn" or key == M.EACH then
    local id = scope .. "/" .. key
    entry.ingress = shared.bucket(keys.name("limiter", name, "in/" .. id))
    entry.egress = shared.bucket(keys.name("limiter", name, "out/" .. id))
    local limit = key == M.EACH and entry.meter.limit_each or entry.meter.limit
    limit(limit(entry.meter, entry.ingress, "in"), entry.egress, "out")
  end
  return entry
end

-- What is told to scripts and plugins, also long after the connection's context has gone.
local function subject_of(limiter, ctx)
  if M.is_static(limiter) then
    return { client_ip = ctx.client_ip, user = ctx.user }
  end
  return {
    service = ctx.service,
    network = ctx.network or ctx.service.network,
    target = ctx.target,
    client = ctx.client,
    client_ip = ctx.client_ip,
    user = ctx.user,
    sid = ctx.sid,
  }
end

--- The meter for a connection.
-- @param limiter its `limit(subject, scope)` → in, out, burst; `static` when an answer of nothing means
--   that there is nothing to limit
-- @param times { refresh, cleanup } in seconds
-- @return meter | nil
function M.meter(limiter, ctx, scope, key, times)
  local name, id = limiter.name, scope .. "/" .. key
  local state = state_of(name)
  state.object = limiter
  local entry = state.cache:get(id)
  if not entry then
    local subject = subject_of(limiter, ctx)
    local ingress, egress, burst = limiter:limit(subject, scope)
    if ingress == nil and egress == nil and M.is_static(limiter) then
      return nil
    end
    entry = state.cache:get(id)
    if not entry then -- nobody was quicker while we asked
      entry = new_entry(name, scope, key, subject)
      configure(entry, ingress, egress, burst)
      state.cache:add(id, entry)
    end
  end
  entry.used = task.now()
  entry.grace = ctx.stream and ctx.stream.add_meter and 0 or GRACE_MS
  entry.refresh, entry.cleanup = times.refresh, times.cleanup
  return entry.meter
end

--- @return for how many keys this worker has meters
function M.count(name)
  return states[name] and states[name].cache.count or 0
end

--- A limiter is in force from now on, or has new rules: live buckets follow.
function M.renew(limiter)
  local state = states[limiter.name]
  if not state then
    return
  end
  state.object = limiter
  for _, entry in pairs(state.cache:all()) do
    if M.is_static(limiter) then
      ask(state, entry)
    else
      ask_aside(state, entry)
    end
  end
end

--- New rules for a limiter that may not be in force.
function M.renew_if_current(limiter)
  local state = states[limiter.name]
  if state and state.object == limiter then
    M.renew(limiter)
  end
end

return M
