-- One connection, from accept to the handler's end, and what is said of how it ended.

local context = require "tidegate.process.context"
local failure = require "tidegate.failure"
local guard = require "tidegate.script.guard"
local live = require "tidegate.process.live"
local metering = require "tidegate.process.metering"
local metrics = require "tidegate.process.metrics"
local proxy_protocol = require "tidegate.net.proxy_protocol"
local record = require "tidegate.process.record"
local silence = require "tidegate.chain.silence"
local stage = require "tidegate.stage"
local stats = require "tidegate.process.stats"
local task = require "tidegate.native.task"

local M = {}

stage.define("accept", function(ctx, stream)
  if ctx.service.proxy_protocol and stream.read then
    return proxy_protocol.receive(ctx, stream)
  end
  return stream
end)

-- What is plugged in, or has started us, needs no admission (`trusted` listeners).
stage.define("admit", function(ctx)
  local admission = ctx.service.admission
  if admission and not ctx.service.listener.trusted and not admission:admits(ctx, ctx.service.network, ctx.client) then
    return nil, failure.new("blocked", ("admission: %s is denied"):format(ctx.client), { level = "debug" })
  end
  return true
end)

-- For a connection: TLS and the like.  For a stream of a session: what its listener does with each.
stage.define("handshake", function(ctx, stream)
  local listener = ctx.service.listener
  if ctx.carrier then
    if listener.accept_stream then
      return listener:accept_stream(ctx, stream)
    end
  elseif listener.accept then
    return listener:accept(ctx, stream)
  end
  return stream
end)

local function refused(err)
  return failure.is(err) and err or failure.new("blocked", err and tostring(err) or "refused")
end

-- Whether who has come may stay; if so it counts from now on.
local function let_in(ctx)
  stats.accepted(ctx)
  record.client(ctx)
  local ok, err = ctx.stages.admit(ctx)
  if not ok then
    return nil, refused(err)
  end
  return metering.accepted(ctx)
end

-- From the handshake to the handler's end.
local function serve_one(ctx, stream, handle)
  ctx.stream = stream
  record.opened(ctx)
  live.began(ctx)
  if metrics.on then
    metrics.began(ctx)
  end
  local ok, err = metering.allowed(ctx)
  if not ok then
    return nil, err
  end
  local handler = ctx.service.handler
  return handler[handle](handler, ctx, stream)
end

--- From the accepted stream to the handler's end; for run().
function M.connection(ctx, stream, handle)
  local stages = ctx.stages
  local upper, err = stages.accept(ctx, stream)
  if not upper then
    return nil, refused(err)
  end
  ctx.stream = upper
  local ok
  ok, err = let_in(ctx)
  if not ok then
    return nil, err
  end

  if metrics.on then
    metrics.carried(ctx)
  end
  stream, err = stages.handshake(ctx, upper)
  if not stream then
    return nil, err
  elseif handle == "handle" and stream.accept then
    return ctx.service:serve_streams(ctx, stream)
  end
  return serve_one(ctx, stream, handle)
end

--- The same for a stream of a session: its connection was accepted and admitted already.
function M.stream(ctx, stream)
  local carrier = ctx.carrier
  if carrier.serve then -- a handler looks into a connection that was served already
    ctx.user = carrier.user
    record.opened(ctx)
    return carrier.serve(ctx, stream)
  end
  local carried, err = ctx.stages.handshake(ctx, stream)
  if not carried then
    return nil, err
  end
  ctx.stream = carried
  if rawget(ctx, "src") ~= carrier.src then -- a proxy in front named another client
    local ok
    ok, err = ctx.stages.admit(ctx)
    if not ok then
      return nil, refused(err)
    end
  end
  return serve_one(ctx, carried, "handle")
end

--- The same for who came to a socket that a client had us open.
function M.peer(ctx, stream, serve)
  local ok, err = let_in(ctx)
  if not ok then
    return nil, err
  end
  record.opened(ctx)
  live.began(ctx)
  ok, err = metering.allowed(ctx)
  if not ok then
    return nil, err
  end
  return serve(ctx, stream)
end

-- What ended a connection, by how much it matters.
local LEVELS = {
  eof = "debug", closed = "debug", canceled = "debug", reset = "debug",
  auth = "warn", blocked = "warn", limit = "warn", protocol = "warn", tls = "warn",
}

-- Relays end by what either side does; what a node or the wire did wrong is the operator's.
local IN_RELAYS = { auth = "warn", blocked = "warn", protocol = "warn", tls = "warn", refused = "error",
  unreachable = "error" }

local function report(ctx, err)
  local level = err.level or LEVELS[err.code] or "error"
  if ctx.service.log:enabled(level) then
    ctx.log:log(level, tostring(err))
  end
end

local blame -- of a script's component that raised: who it was

local function traceback(err)
  blame = guard.culprit()
  local text = debug.traceback(tostring(err), 2) -- no tail call: it would take a level away
  return text
end

local function finish(ctx, ok, done, err)
  if not ok then
    if blame then
      guard.report(ctx.log, blame, done, {}) -- of the kind handler
    else
      ctx.log:error("raised: " .. done)
    end
    err = failure.new("io", "a component raised an error")
  elseif not done then
    err = failure.wrap(err)
    report(ctx, err)
  end
  if err then
    stats.failed(ctx.service, err)
    if metrics.on then
      metrics.failed(ctx, err)
    end
  end
  if not ctx.relayed then
    record.ended(ctx, err)
  end
end

local alive = 0

--- Go through the steps, and say how it ended.  Never raises; what the handler asks stays open until it is done,
-- whatever is reloaded meanwhile.
-- @param steps one of the functions above, or what takes and returns the same
-- @param handle what it is called with, behind context and stream
-- @return whether all went well
function M.run(ctx, steps, handle)
  local service = ctx.service
  local all = service.registry
  all:enter()
  alive = alive + 1
  local ok, done, err = xpcall(steps, traceback, ctx, ctx.stream, handle)
  if not ok or not done or not ctx.relayed then
    local well, why = xpcall(finish, traceback, ctx, ok, done, err)
    if not well then
      service.log:error("raised: " .. why)
    end
  end
  live.left(ctx)
  context.close(ctx)
  alive = alive - 1
  all:leave()
  return ok and done and true or false
end

--- A relay has ended; called by the runtime in a fresh task.
-- @param tag what travelled with it
-- @param result {up, down (bytes), duration (ms), err}
function M.relay_ended(tag, result)
  if record.end_record(tag, result) then
    return
  end
  local ctx, before_up, before_down = record.read(tag)
  if not ctx then
    return
  end
  ctx = context.restore(ctx)
  if result.err and (result.err.level or IN_RELAYS[result.err.code]) then
    report(ctx, result.err)
  elseif ctx.unanswered then
    silence.ended(ctx, ctx.unanswered, result.up, result.down)
  end
  local ok, why = xpcall(record.finish, traceback, ctx, {
    up = before_up + result.up,
    down = before_down + result.down,
    duration = (task.now() - ctx.started) / 1000,
    relayed = result.duration / 1000,
    err = result.err,
  })
  if not ok then
    ctx.service.log:error("raised: " .. why)
  end
end

--- @return how many connections are in the hands of a handler
function M.live_count()
  return alive
end

return M
