-- The end of a connection, and its lines in the log.
--
-- A relay runs without Lua, so what the record stage needs travels with it as a string (the tag), and
-- only when somebody wants it: a log at level info, or a hook.

local buffer = require "string.buffer"
local stage = require "tidegate.stage"
local task = require "tidegate.native.task"

local INFO = 3

local M = {}

local encode, decode = buffer.encode, buffer.decode

--- The fields that every line about a connection carries.
function M.fields(ctx)
  local fields = { "remote", ctx.remote, "local", ctx.local_address, "sid", ctx.sid }
  if ctx.client ~= ctx.remote then
    fields[7], fields[8] = "client", ctx.client
  end
  return fields
end

local function add(fields, key, value)
  if value ~= nil then
    fields[#fields + 1], fields[#fields + 2] = key, value
  end
end

-- What is known once the target is.
local function target_fields(ctx, upstream)
  local fields = { "network", ctx.network or "tcp", "host", ctx.target or upstream or "" }
  add(fields, "clientID", ctx.user)
  add(fields, "route", ctx.route)
  add(fields, "dst", upstream)
  return fields
end

--- The handler begins: `REMOTE <> LOCAL`.
function M.opened(ctx)
  if ctx.service.log.level <= INFO then
    ctx.log:info(ctx.remote .. " <> " .. ctx.local_address)
  end
end

-- Services by number, so that a tag can name one; kept while relays of theirs run.
local services, numbers = {}, 0

local function number_of(service)
  local number = service.number
  if not number then
    numbers = numbers + 1
    number = numbers
    service.number, service.relays = number, 0
    services[number] = service
  end
  return number
end

local function release(service)
  service.relays = service.relays - 1
  if service.closed and service.relays == 0 then
    services[service.number] = nil
  end
end

--- A service is closed: forget it as soon as its relays have ended.
function M.forget(service)
  service.closed = true
  if service.number and service.relays == 0 then
    services[service.number] = nil
  end
end

local function counts_of(stream)
  if not stream or not stream.counts then
    return 0, 0
  end
  local rx, tx = stream:counts()
  return rx or 0, tx or 0
end

-- Hooks may have left values that cannot travel.
local function encode_tag(values)
  local ok, tag = pcall(encode, values)
  if not ok then
    values.vars = nil
    tag = encode(values)
  end
  return tag
end

--- A relay begins: `REMOTE <-> TARGET`.
-- @return the tag to travel with it, or nil when nobody wants to know how it ends
function M.begin(ctx, a, b)
  local service = ctx.service
  local logs = service.log.level <= INFO
  if not logs and not ctx.stages.hooked.record then
    return nil
  end

  local peer = b.remote_address and b:remote_address() or nil
  if logs then
    ctx.log:info(ctx.remote .. " <-> " .. (ctx.target or peer or ""), target_fields(ctx, peer))
  end
  local rx, tx = counts_of(a)
  local number = number_of(service)
  service.relays = service.relays + 1
  return encode_tag {
    number, ctx.sid, ctx.remote, ctx.local_address, ctx.started, rx, tx,
    target = ctx.target,
    network = ctx.network,
    user = ctx.user,
    client = ctx.client ~= ctx.remote and ctx.client or nil,
    route = ctx.route,
    dst = peer,
    vars = ctx.stages.hooked.record and rawget(ctx, "vars") or nil,
  }
end

--- The relay did not begin after all.
function M.cancel(ctx, tag)
  if tag then
    release(ctx.service)
  end
end

-- Ends that need no mention.
local IN_ORDER = { eof = true }

local function log_end(ctx, result)
  local log = ctx.log
  local err = result.err and not IN_ORDER[result.err.code] and tostring(result.err) or nil
  local fields = target_fields(ctx, ctx.upstream)
  local count = #fields
  if result.relayed then
    add(fields, "duration", result.relayed)
    add(fields, "err", err)
    log:info(ctx.remote .. " >-< " .. (ctx.target or ctx.upstream or ""), fields)
    fields[count + 3], fields[count + 4] = nil, nil
  end
  fields[count + 1], fields[count + 2] = "duration", result.duration
  add(fields, "inputBytes", result.up)
  add(fields, "outputBytes", result.down)
  add(fields, "err", err)
  log:info(ctx.remote .. " >< " .. ctx.local_address, fields)
end

-- result: up, down (bytes from and to the client), duration and relayed (seconds), err
stage.define("record", function(ctx, result)
  if ctx.service.log.level <= INFO then
    log_end(ctx, result)
  end
  return true
end)

--- A connection ended without a relay.
function M.ended(ctx, err)
  if ctx.service.log.level > INFO and not ctx.stages.hooked.record then
    return
  end
  local up, down = counts_of(ctx.stream)
  ctx.stages.record(ctx, {
    up = up,
    down = down,
    duration = (task.now() - ctx.started) / 1000,
    err = err,
  })
end

--- Take a tag apart again.
-- @return what context fields it held, the service | nil when the service is gone
function M.read(tag)
  local held = decode(tag)
  local service = services[held[1]]
  if not service then
    return nil
  end
  release(service)
  local fields = {
    service = service,
    stages = service.stages,
    sid = held[2],
    remote = held[3],
    local_address = held[4],
    started = held[5],
    client = held.client or held[3],
    target = held.target,
    network = held.network,
    user = held.user,
    route = held.route,
    upstream = held.dst,
    vars = held.vars,
  }
  return fields, held[6], held[7]
end

return M
