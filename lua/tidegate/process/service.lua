-- A service in one worker: a listener, a handler, and what connections of it share.

local addr = require "tidegate.net.addr"
local context = require "tidegate.process.context"
local failure = require "tidegate.failure"
local forwarder = require "tidegate.chain.forwarder"
local group = require "tidegate.chain.group"
local instance = require "tidegate.process.instance"
local kinds = require "tidegate.policy.kinds"
local log = require "tidegate.process.log"
local metadata = require "tidegate.metadata"
local quota = require "tidegate.policy.quota"
local record = require "tidegate.process.record"
local registry = require "tidegate.process.registry"
local script = require "tidegate.script"
local serving = require "tidegate.process.serving"
local sockets = require "tidegate.chain.sockets"
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
  all:enter()
  for _, step in ipairs(STEPS) do
    local ok, err = step(self, config)
    if not ok then
      self:close()
      return nil, err:during(("service %s"):format(self.name))
    end
  end
  self.asks = (self.auther or self.admission or self.limiter or self.climiter or self.rlimiter) ~= nil
  log.batch(task.spawn)
  return self
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

  all:enter()
  for _, item in ipairs(config.services or {}) do
    built[item.name], err = M.build(item, all)
    if not built[item.name] then
      problems[#problems + 1] = tostring(err)
    end
  end
  all:leave()
  return built, problems
end

-- Serving ----------------------------------------------------------------------------------------

--- Serve one accepted stream; in a task of its own.  Never raises.
-- @return whether all went well, to the handler's end
-- @param from nil, or { remote, local_address } where the stream's own addresses are somebody else's
function methods:serve(stream, from)
  local ctx = context.new(self, stream)
  if from then
    ctx.remote, ctx.local_address = from.remote, from.local_address
  end
  return serving.run(ctx, serving.connection, "handle")
end

-- One stream of a session; in a task of its own.
local function serve_stream(service, carrier, stream)
  local ctx = context.new(service, stream)
  ctx.carrier = carrier
  ctx.remote, ctx.local_address = carrier.remote, carrier.local_address
  ctx.src, ctx.dst = carrier.src, carrier.dst
  return serving.run(ctx, serving.stream)
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
  return serving.run(ctx, serving.peer, serve)
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
  return serving.run(ctx, serving.connection, "handle_packets")
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
  self.registry:leave()
  log.flush()
end

return M
