-- The end of a connection, and its lines in the log.
--
-- A relay runs without Lua, so what the record stage needs travels with it as a string (the tag), and
-- only when somebody wants it: a log at level info, a hook, a recorder, or statistics.

local addr = require "tidegate.net.addr"
local buffer = require "string.buffer"
local logline = require "tidegate.native.logline"
local object = require "tidegate.policy.recorder.object"
local relay = require "tidegate.native.relay"
local stage = require "tidegate.stage"
local task = require "tidegate.native.task"

local floor = math.floor
local now = task.now
local record_relay = relay.record
local time_ago = logline.time

local INFO, ERROR = 3, 5
local HANDLER = "recorder.service.handler"

local M = {}

-- Keys of tags, so that they take a byte each.
local TAG = { dict = { "target", "network", "user", "client", "route", "dst", "src", "node", "unanswered" } }
local writer, reader = buffer.new(TAG), buffer.new(TAG)

local function encode(values)
  return writer:reset():encode(values):get()
end

local function decode(tag)
  return reader:set(tag):decode()
end

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
  ctx.handled = true
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

--- Hears of each record, by the recorder's name; replaced where metrics are counted.
function M.count() end

-- Recorders --------------------------------------------------------------------------------------

--- Hand data to a bound recorder { recorder, meta }.
local function send(bound, data)
  M.count(bound.recorder.name or "")
  bound.recorder:record(data, bound.meta)
end

M.send = send

-- The recorder of handlers' objects, or nil.
local function handler_recorder(ctx)
  local recorders = ctx.service.recorders
  return recorders and recorders[HANDLER]
end

--- @return how a service's handler objects are recorded: { recorder, meta, options }, or nil
function M.wanted(ctx)
  return handler_recorder(ctx)
end

--- Record the address of a client, before anybody is asked whether it may come.
function M.client(ctx)
  local recorders = ctx.service.recorders
  local bound = recorders and recorders["recorder.service.client.address"]
  if bound then
    send(bound, ctx.client_ip)
  end
end

--- Record where a router dials to.
-- @param failed it could not, whatever it tried
function M.dial(ctx, address, failed)
  local recorders = ctx.service.recorders
  local bound = recorders
    and recorders["recorder.service.router.dial.address" .. (failed and ".error" or "")]
  if bound then
    send(bound, addr.host(address))
  end
end

local function finish_record(bound, head, sid, up, down, redirect, seconds, err)
  local text = err and (err.level or err.code ~= "eof") and tostring(err) or nil
  send(bound, object.finish(head, up, down, redirect, text, sid, floor(seconds * 1e9 + 0.5), time_ago(seconds)))
end

--- Record a connection or request.
-- @param result { up, down (bytes), duration (seconds), err }
-- @param extra nil or what only some protocols know: proto, clientIP, http, tls, dns, redis, websocket …, src and
--   dst of the connection of a request, host instead of the target, asked where there is no target
function M.write(ctx, result, extra)
  local bound = handler_recorder(ctx)
  if not bound then
    return
  end
  extra = extra or {}
  local head = object.head {
    node = ctx.node,
    service = ctx.service.name,
    labels = ctx.service.md and ctx.service.md.labels,
    network = ctx.network or "tcp",
    remote = ctx.remote,
    ["local"] = ctx.local_address,
    client = ctx.client,
    src = extra.src or ctx.upstream_local,
    dst = extra.dst or ctx.upstream,
    host = extra.host or ctx.target or extra.asked,
    proto = extra.proto or ctx.sniffed and ctx.sniffed.protocol,
    clientIP = extra.clientIP,
    clientID = ctx.user,
    http = extra.http,
    websocket = extra.websocket,
    tls = extra.tls,
    dns = extra.dns,
    redis = extra.redis,
    route = ctx.route,
  }
  finish_record(bound, head, ctx.sid, result.up, result.down, extra.redirect, result.duration, result.err)
end

-- Relays -----------------------------------------------------------------------------------------

local wanted = false

--- Have every relay know what it is, whatever the log's level: somebody may ask.
function M.want(on)
  wanted = on
end

-- Does anybody want to know how a relay of this connection ends?
local function is_watched(ctx)
  local level = ctx.service.log.level
  return wanted or level <= INFO or ctx.stages.hooked.record or handler_recorder(ctx)
    or level <= ERROR and rawget(ctx, "unanswered")
end

local function address_of(endpoint, method)
  return endpoint[method] and endpoint[method](endpoint) or nil
end

-- Nothing but a record will come of it.
local function is_recorded_only(ctx, service)
  return not wanted and service.log.level > INFO and not ctx.stages.hooked.record and rawget(ctx, "recorded") == nil
    and not rawget(ctx, "unanswered")
end

-- What records of a service begin with, by node.
local function first_of(bound, service, node)
  local known = bound.firsts
  if not known then
    known = {}
    bound.firsts = known
  end
  local first = known[node or ""]
  if not first then
    first = object.first(node, service.name, service.md and service.md.labels)
    if not node then
      known[""] = first
    end
  end
  return first
end

--- Begin a relay whose record, if nothing else is wanted of it, is written where it ends, without Lua.
-- @return nothing: begin() is to be asked | true | nil, err
function M.relay(ctx, a, b, options)
  local service = ctx.service
  local bound = service.recorders and service.recorders[HANDLER]
  local store = bound and bound.recorder.store
  if not store or not is_recorded_only(ctx, service) then
    return
  end
  local sniffed = rawget(ctx, "sniffed")
  return record_relay(a, b, options, store, first_of(bound, service, rawget(ctx, "node")),
    rawget(ctx, "network") or "tcp", rawget(ctx, "remote"), rawget(ctx, "local_address"),
    rawget(ctx, "client") or rawget(ctx, "src"), rawget(ctx, "target"),
    sniffed and sniffed.protocol, rawget(ctx, "user"), ctx.route, ctx.sid, ctx.started)
end

-- When nothing but a record will come of it, most of that is written now, and travels as text.
local function begin_record(ctx, number, b, peer, rx, tx)
  local service, sniffed = ctx.service, rawget(ctx, "sniffed")
  local md = service.md
  local head = object.plain_head(rawget(ctx, "node"), service.name, md and md.labels, rawget(ctx, "network") or "tcp",
    ctx.remote, ctx.local_address, ctx.client, address_of(b, "local_address"), peer, rawget(ctx, "target"),
    sniffed and sniffed.protocol, rawget(ctx, "user"), ctx.route)
  return writer:reset():encode(-number):encode(head):encode(ctx.sid):encode(ctx.started):encode(rx):encode(tx):get()
end

--- A relay begins: `REMOTE <-> TARGET`.
-- @return the tag to travel with it, or nil when nobody wants to know how it ends
function M.begin(ctx, a, b)
  local service = ctx.service
  if not is_watched(ctx) then
    return nil
  end

  local logs, hooked = service.log.level <= INFO, ctx.stages.hooked.record
  local peer = address_of(b, "remote_address")
  if logs then
    ctx.log:info(ctx.remote .. " <-> " .. (ctx.target or peer or ""), target_fields(ctx, peer))
  end
  local rx, tx = counts_of(a)
  local number = number_of(service)
  service.relays = service.relays + 1
  if handler_recorder(ctx) and is_recorded_only(ctx, service) then
    return begin_record(ctx, number, b, peer, rx, tx)
  end
  return encode_tag {
    number, ctx.sid, ctx.remote, ctx.local_address, ctx.started, rx, tx,
    target = ctx.target,
    network = ctx.network,
    user = ctx.user,
    client = ctx.client ~= ctx.remote and ctx.client or nil,
    route = ctx.route,
    dst = peer,
    src = handler_recorder(ctx) and address_of(b, "local_address") or nil,
    node = ctx.node,
    sniffed = rawget(ctx, "sniffed"),
    recorded = rawget(ctx, "recorded"),
    unanswered = rawget(ctx, "unanswered"),
    vars = hooked and rawget(ctx, "vars") or nil,
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
  local err = result.err and (result.err.level or not IN_ORDER[result.err.code]) and tostring(result.err) or nil
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
-- Who was turned away before the handler began leaves no more than a debug line behind.
stage.define("record", function(ctx, result)
  if not ctx.handled then
    return true
  end
  if ctx.service.log.level <= INFO then
    log_end(ctx, result)
  end
  if ctx.recorded ~= false then
    M.write(ctx, result, ctx.recorded)
  end
  return true
end)

local listeners = {}

--- Have a function hear of every end: fn(ctx, result), result as the stage "record" has it.
function M.on_end(fn)
  listeners[#listeners + 1] = fn
end

--- A connection is over.
-- @param result { up, down (bytes from and to the client), duration, relayed (seconds), err }
function M.finish(ctx, result)
  for i = 1, #listeners do
    listeners[i](ctx, result)
  end
  return ctx.stages.record(ctx, result)
end

--- A connection ended without a relay.
function M.ended(ctx, err)
  if not is_watched(ctx) then
    return
  end
  local up, down = counts_of(ctx.stream)
  M.finish(ctx, {
    up = up,
    down = down,
    duration = (task.now() - ctx.started) / 1000,
    err = err,
  })
end

--- A relay has ended.
-- @return whether nothing but its record was wanted, which is written now
function M.end_record(tag, result)
  local number = reader:set(tag):decode()
  if type(number) ~= "number" then
    return false
  end
  local service = services[-number]
  if service then
    release(service)
    local head, sid, started = reader:decode(), reader:decode(), reader:decode()
    local up, down = reader:decode() + result.up, reader:decode() + result.down
    finish_record(service.recorders[HANDLER], head, sid, up, down, nil, (now() - started) / 1000, result.err)
  end
  return true
end

-- What a tag holds.  @return context fields, bytes up and down before the relay
local function unfold(held, service)
  local fields = {
    service = service,
    stages = service.stages,
    handled = true,
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
    upstream_local = held.src,
    node = held.node,
    sniffed = held.sniffed,
    recorded = held.recorded,
    unanswered = held.unanswered,
    vars = held.vars,
  }
  return fields, held[6], held[7]
end

--- Look at the tag of a relay that goes on.
-- @return what context fields it holds, bytes up and down before the relay | nil when the service is gone
function M.peek(tag)
  local held = decode(tag)
  local service = type(held) == "table" and services[held[1]]
  if service then
    return unfold(held, service)
  end
end

--- Take the tag of a relay apart that is over.
-- @return what context fields it held, bytes up and down before the relay | nil when the service is gone
function M.read(tag)
  local held = decode(tag)
  local service = services[held[1]]
  if not service then
    return nil
  end
  release(service)
  return unfold(held, service)
end

return M
