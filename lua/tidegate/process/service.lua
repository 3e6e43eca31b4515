-- A service in one worker: a listener, a handler, and what connections of it share.

local addr = require "tidegate.net.addr"
local context = require "tidegate.process.context"
local failure = require "tidegate.failure"
local forwarder = require "tidegate.chain.forwarder"
local group = require "tidegate.chain.group"
local guard = require "tidegate.script.guard"
local instance = require "tidegate.process.instance"
local kinds = require "tidegate.policy.kinds"
local live = require "tidegate.process.live"
local log = require "tidegate.process.log"
local metadata = require "tidegate.metadata"
local metering = require "tidegate.process.metering"
local metrics = require "tidegate.process.metrics"
local proxy_protocol = require "tidegate.net.proxy_protocol"
local quota = require "tidegate.policy.quota"
local record = require "tidegate.process.record"
local registry = require "tidegate.process.registry"
local script = require "tidegate.script"
local silence = require "tidegate.chain.silence"
local sockets = require "tidegate.chain.sockets"
local stage = require "tidegate.stage"
local stats = require "tidegate.process.stats"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.service", __index = methods }

--- Keys of service metadata which are read here; the schema of the configuration knows the others.
M.METADATA = {
  proxyProtocol = { type = "int", doc = "accept PROXY headers when not 0" },
  interface = { type = "string", doc = "interfaces or source addresses to dial from, tried in order" },
  so_mark = { type = "int", doc = "SO_MARK of outgoing sockets" },
  ["netns.out"] = { type = "string", doc = "network namespace to dial from" },
  dialTimeout = { type = "duration", default = 15, doc = "limit on one attempt to reach a target" },
  labels = { type = "map", doc = "added to log lines and records" },
  ignoreChain = { type = "bool", doc = "dial directly whatever chain is named" },
}

-- What admissions and limiters are told of listeners whose connections are not TCP.
local NETWORKS = { udp = "udp", rudp = "udp", unix = "unix" }

local SKIP_AUTH = { skipauth = { type = "list", split = "," } }

-- Building ---------------------------------------------------------------------------------------

local function make_log(config, all)
  local names = {}
  if config.logger and config.logger ~= "" then
    names[1] = config.logger
  end
  for _, name in ipairs(config.loggers or {}) do
    names[#names + 1] = name
  end
  local loggers = {}
  for _, name in ipairs(names) do
    loggers[#loggers + 1] = all.loggers[name]
  end
  return #loggers > 0 and log.group(loggers) or all.log
end

local function make_forwarder(self, config)
  if not config.forwarder then
    return true
  end
  local err
  self.forwarder, err = forwarder.new(config.forwarder, self.registry, self.name)
  return self.forwarder and true or nil, err
end

local function make_chain(self, config)
  if self.md.ignoreChain then
    return true
  end
  local err
  self.chain, err = group.chains(config.handler or {}, self.registry, self.name, "service " .. self.name)
  self.chain_group = self.chain and self.chain.entries and self.chain or nil
  return not err, err
end

local function make_sockets(self)
  local err
  self.sockets, err = sockets.new {
    interface = self.md.interface,
    so_mark = self.md.so_mark,
    netns = self.md["netns.out"],
  }
  return not err, err
end

-- Every kind of policy takes what the service says about it.
local function attach_policies(self, config)
  for _, kind in ipairs(kinds.all) do
    if kinds.concerns(kind, config) and kind.attach then
      local ok, err = kind.attach(self, config)
      if not ok then
        return nil, err
      end
    end
  end
  return true
end

local function make_skip_auth(self, config)
  local skip = metadata.parse(SKIP_AUTH, config.handler and config.handler.metadata).skipauth
  if skip and #skip > 0 then
    self.skip_auth = addr.ip_set(skip)
  end
  return true
end

-- Listener and handler are asked for last: their open() may look at everything else.
local function make_parts(self, config)
  local err
  local listener, handler = config.listener or {}, config.handler or {}
  self.listener, err = instance.new("listener", listener.type or "tcp", listener, { service = self })
  if not self.listener then
    return nil, err
  end
  self.handler, err = instance.new("handler", handler.type or "auto", handler, { service = self })
  if not self.handler then
    return nil, err
  elseif self.listener.datagrams and not self.handler.handle_packets then
    return nil, failure.new("config", ("handler %s on listener %s: it serves no datagrams"):format(
      self.handler.name, self.listener.name))
  end
  return true
end

local STEPS = { make_forwarder, make_chain, make_sockets, attach_policies, make_skip_auth, make_parts }

--- Build a service.
-- @param config its object of the configuration
-- @param all the named objects it may refer to (tidegate.process.registry)
-- @return service | nil, err
function M.build(config, all)
  local md = metadata.parse(M.METADATA, config.metadata)
  md.interface = md.interface or config.interface
  md.so_mark = md.so_mark or config.sockopts and config.sockopts.mark
  local handler, listener = config.handler or {}, config.listener or {}
  local self = setmetatable({
    name = config.name,
    addr = config.addr or "",
    config = config,
    md = md,
    registry = all,
    stages = all.stages,
    network = NETWORKS[listener.type] or "tcp",
    meters = {}, -- what counts and limits all its connections (tidegate.native.meter)
    retries = math.max(handler.retries or 0, 0),
    dial_timeout = md.dialTimeout,
    proxy_protocol = (md.proxyProtocol or 0) ~= 0,
    sessions = setmetatable({}, { __mode = "k" }),
  }, mt)
  self.seat = { service = self }
  self.log = make_log(config, all):with {
    "kind", "service", "service", self.name,
    "listener", listener.type or "tcp", "handler", handler.type or "auto",
  }

  if md.labels and next(md.labels) then
    self.log = self.log:with { "labels", md.labels }
  end
  self.handler_log = self.log:with { "kind", "handler" }
  all.users = (all.users or 0) + 1
  for _, step in ipairs(STEPS) do
    local ok, err = step(self, config)
    if not ok then
      self:close()
      return nil, err:during(("service %s"):format(self.name))
    end
  end
  log.batch(task.spawn)
  return self
end

-- One service less uses the registry; the last closes it.
local function leave(all)
  all.users = all.users - 1
  if all.users <= 0 then
    all:close()
  end
end

--- Build all services of a configuration.
-- @param data what the control thread has loaded for its policies (tidegate.process.loaders)
-- @return name → service, a list of problems (texts; none: the services are good)
function M.build_all(config, data)
  local built, problems = {}, {}
  local scripts, err = script.load(config.scripts)
  if not scripts then
    return built, { tostring(err) }
  end
  local all, wrong = registry.new(config, scripts, data)
  for i, one in ipairs(wrong) do
    problems[i] = tostring(one)
  end

  all.users = 1
  for _, item in ipairs(config.services or {}) do
    built[item.name], err = M.build(item, all)
    if not built[item.name] then
      problems[#problems + 1] = tostring(err)
    end
  end
  leave(all)
  return built, problems
end

-- Serving ----------------------------------------------------------------------------------------

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

-- From the accepted stream to the handler's end.
local function walk(ctx, stream, handle)
  local stages = ctx.stages
  local upper, err = stages.accept(ctx, stream)
  if not upper then
    return nil, refused(err)
  end
  ctx.stream = upper
  stats.accepted(ctx)
  record.client(ctx)

  local ok
  ok, err = stages.admit(ctx)
  if not ok then
    return nil, refused(err)
  end

  ok, err = metering.accepted(ctx)
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

-- The same for a stream of a session: its connection was accepted and admitted already.
local function walk_stream(ctx, stream)
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

-- The same for who came to a socket that a client had us open.
local function walk_peer(ctx, stream, serve)
  stats.accepted(ctx)
  record.client(ctx)
  local ok, err = ctx.stages.admit(ctx)
  if not ok then
    return nil, refused(err)
  end
  ok, err = metering.accepted(ctx)
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

-- What the handler asks must stay open until it is done, whatever is reloaded meanwhile.
local function run(ctx, steps, handle)
  local service = ctx.service
  local all = service.registry
  all.users = all.users + 1
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
  leave(all)
  return ok and done and true or false
end

--- Serve one accepted stream; in a task of its own.  Never raises.
-- @return whether all went well, to the handler's end
-- @param from nil, or { remote, local_address } where the stream's own addresses are somebody else's
function methods:serve(stream, from)
  local ctx = context.new(self, stream)
  if from then
    ctx.remote, ctx.local_address = from.remote, from.local_address
  end
  return run(ctx, walk, "handle")
end

-- One stream of a session; in a task of its own.
local function serve_stream(service, carrier, stream)
  local ctx = context.new(service, stream)
  ctx.carrier = carrier
  ctx.remote, ctx.local_address = carrier.remote, carrier.local_address
  ctx.src, ctx.dst = carrier.src, carrier.dst
  return run(ctx, walk_stream)
end

--- Serve each stream of a session that a listener's accept() made of a connection, until it ends.
-- Streams which come after a reload meet the service that has taken this one's place.
-- @param serve nil or function(ctx, stream) → true | nil, err, which a handler serves them by that found the
--   session inside of a connection
-- @return true | nil, err
function methods:serve_streams(ctx, session, serve)
  local carrier = {
    serve = serve,
    remote = ctx.remote,
    local_address = ctx.local_address,
    src = rawget(ctx, "src"),
    dst = rawget(ctx, "dst"),
    user = rawget(ctx, "user"),
    login = rawget(ctx, "login"), -- what its listener knows of that
  }
  if serve then
    ctx:own(session)
  else
    ctx.stream = session
  end
  ctx.relayed = true -- its streams are recorded, each for itself
  self.sessions[session] = true
  while true do
    local stream, err = session:accept()
    if not stream then
      if err.code == "eof" then
        return true
      end
      return nil, err
    end
    task.spawn(serve_stream, serve and self or self.seat.service, carrier, stream)
  end
end

--- Serve who came to a socket that a client had us open; in a task of its own.
-- @param user whose socket it is, or nil
-- @param serve function(ctx, stream) → true | nil, err: what is done with it
function methods:serve_peer(stream, user, serve)
  local ctx = context.new(self, stream)
  ctx.user = user
  return run(ctx, walk_peer, serve)
end

--- Serve one session of datagrams, as serve() does a stream.
-- @param from as there
function methods:serve_session(packet, from)
  if self.quotas and quota.blocks(self) then
    return packet:close()
  end
  local ctx = context.new(self, packet)
  if from then
    ctx.remote, ctx.local_address = from.remote, from.local_address
  end
  return run(ctx, walk, "handle_packets")
end

--- Serve what a listener makes of a socket itself: of datagrams, or of connections that belong together.
-- @param fd nil in a worker that has none, when the listener is `single`
-- @return an acceptor with close() and adopt(service) | nil, err
function methods:serve_socket(fd)
  return self.listener:serve(self, fd)
end

--- Serve what a listener finds without a socket of ours.
-- @return an acceptor with close() | nil, err
function methods:serve_alone()
  return self.listener:serve_alone(self)
end

--- A context for work that no client asked for: scripts and timers that connect through chains.
function methods:context()
  return context.new(self)
end

--- It is in force in this worker from now on.
function methods:begin()
  for _, kind in ipairs(kinds.all) do
    if kinds.concerns(kind, self.config) and kind.begin then
      kind.begin(self)
    end
  end
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

--- Another service takes this one's place: streams of sessions that live on are its.
function methods:bequeath(heir)
  if heir.listener.name == self.listener.name then
    heir.seat, heir.sessions = self.seat, self.sessions
    self.seat.service = heir
  end
end

--- Let sessions end with the streams they have.
function methods:drain()
  for session in pairs(self.sessions) do
    if session.drain then
      session:drain()
    end
  end
end

--- Begin to probe what the service uses, when its generation comes into force.
function methods:start_probes()
  if self.probing then
    return
  end
  self.probing = true
  self.registry:start_probes()
  for _, part in ipairs { self.forwarder or false, self.chain_group or false } do
    if part then
      part:start_probes()
    end
  end
end

--- Close the service: connections that run go on.
function methods:close()
  if self.seat.service == self then
    self:drain()
  end
  for _, part in ipairs {
    self.handler or false, self.listener or false, self.forwarder or false, self.chain_group or false,
  } do
    if part and part.close then
      part:close()
    end
  end
  record.forget(self)
  leave(self.registry)
  log.flush()
end

return M
