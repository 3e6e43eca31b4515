-- One proxy of a hop (or one target of a forwarder): an address, how to dial it, what to speak to it.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local filter = require "tidegate.chain.filter"
local health = require "tidegate.chain.health"
local lazy = require "tidegate.lazy"
local hosts = lazy "tidegate.policy.hosts"
local instance = require "tidegate.process.instance"
local mark = require "tidegate.chain.mark"
local metadata = require "tidegate.metadata"
local policies = require "tidegate.chain.policies"
local probe = lazy "tidegate.chain.probe"
local proxy_protocol = require "tidegate.net.proxy_protocol"
local resolver = lazy "tidegate.policy.resolver"
local rewrite = lazy "tidegate.chain.rewrite"
local router = require "tidegate.chain.router"
local shared = require "tidegate.native.shared"
local short = require "tidegate.chain.key"
local sockets = require "tidegate.chain.sockets"
local tls = require "tidegate.tls"

local M = {}
local methods = {}
local mt = { __name = "tidegate.node", __index = methods }

--- Keys of node metadata; a hop may set the first four for its nodes.
M.METADATA = {
  interface = { type = "string", doc = "interfaces or source addresses to dial from, tried in order" },
  so_mark = { type = "int", doc = "SO_MARK of the sockets" },
  netns = { type = "string", doc = "network namespace to dial from" },
  proxyProtocol = { type = "int", doc = "version of the PROXY header sent after dialing" },
  weight = { type = "int", doc = "share in the strategy rand" },
  backup = { type = "bool", doc = "use only when all others have failed" },
  maxFails = { type = "int", keep_zero = true, doc = "failures before the node is left alone" },
  failTimeout = { type = "duration", keep_zero = true, doc = "how long it is left alone" },
  ["http.version"] = {
    type = "string",
    doc = "of a forwarder's target: 1.1, 2 or auto (HTTP/2 for clients that speak it, if the target does)",
  },
}

local INHERITED = { "interface", "so_mark", "netns", "proxyProtocol" }

-- The node's own word, then its deprecated fields, then the hop's.
local function read_metadata(config, hop_md)
  local md = metadata.parse(M.METADATA, config.metadata)
  md.interface = md.interface or config.interface
  md.netns = md.netns or config.netns
  md.so_mark = md.so_mark or config.sockopts and config.sockopts.mark
  for _, key in ipairs(INHERITED) do
    if md[key] == nil and hop_md then
      md[key] = hop_md[key]
    end
  end
  return md
end

-- TLS settings with the server name that gost assumes.
local function tls_for(part, host)
  local settings = {}
  for key, value in pairs(part and part.tls or {}) do
    settings[key] = value
  end
  local name = settings.serverName
  if not name or name == "" or name:find(",", 1, true) then
    settings.serverName = host
  end
  return settings
end

local function make_part(self, kind, part, otherwise)
  part = part or {}
  local made, err = instance.new(kind, part.type or otherwise, part, {
    tls = tls_for(part, self.host),
    node = self,
  })
  if not made then
    return nil, err:during("node " .. self.label)
  end
  return made
end

-- Dialers of TCP have keepalive settings of their own.
local function keepalive_of(dialer)
  local md = dialer and dialer.md
  if not md or not (md.keepalive or md["tcp.keepalive"]) then
    return nil
  end
  return {
    idle = md["keepalive.idle"] or md["tcp.keepalive.idle"] or 15,
    interval = md["keepalive.interval"] or md["tcp.keepalive.interval"] or 15,
    count = md["keepalive.count"] or md["tcp.keepalive.count"] or 9,
  }
end

-- Which requests it takes.
local function read_conditions(self, config, registry)
  local conditions, err = filter.new(config, registry)
  if not conditions then
    return nil, err:during("node " .. self.label)
  end
  self.test, self.priority, self.body_size = conditions.test, conditions.priority, conditions.body_size
  self.bypass, err = policies.bypass(config, registry)
  if err then
    return nil, err:during("node " .. self.label)
  end
  self.conditional = self.test ~= nil or self.bypass ~= nil
  return true
end

local function read_health(self, config, options)
  self.health = health.new(self.id)
  local needs = options.needs or {}
  self.load = needs.load and shared.counter("load/" .. short(self.id)) or nil
  self.latency = needs.latency and shared.latency("latency/" .. short(self.id)) or nil
  self.probe = probe.new(config.probe, {
    id = self.id,
    label = "node " .. self.label,
    registry = options.registry,
    open = function(ctx, deadline)
      return self:visit(ctx, deadline)
    end,
    mark = self.mark,
    health = self.health,
  })
end

local VERSIONS = { [""] = "auto", auto = "auto", ["1"] = "1.1", ["1.1"] = "1.1", ["2"] = "2" }

-- In which version of HTTP a target is spoken to.
local function read_version(self)
  local word = self.md["http.version"] or ""
  self.http_version = VERSIONS[word]
  if not self.http_version then
    return nil, failure.new("config", ("http.version %q is none of 1.1, 2 and auto"):format(word))
  end
  return true
end

-- The protocols of TLS that are configured, with HTTP/2 and without.
local function split_protocols(given)
  local with, without = {}, {}
  for _, name in ipairs(given or {}) do
    with[#with + 1] = name
    if name ~= "h2" then
      without[#without + 1] = name
    end
  end
  return with, without
end

-- @param config of TLS  @param protocols to offer  @return context | nil, err
local function target_context(config, protocols)
  local given = config.options or {}
  return tls.client {
    secure = config.secure,
    options = {
      minVersion = given.minVersion, maxVersion = given.maxVersion, cipherSuites = given.cipherSuites,
      alpn = #protocols > 0 and protocols or nil,
    },
  }
end

-- What is done to HTTP on its way to a target, and TLS towards it.
local function read_web(self, config, options)
  local ok, err = read_version(self)
  if not ok then
    return nil, err
  end
  self.rewrite, err = rewrite.new(config, options.registry)
  if err then
    return nil, err
  end
  local settings = config.tls
  if settings then -- of a target
    local with, without = split_protocols(settings.options and settings.options.alpn)
    if #with > 0 and #with == #without then
      self.http_version = "1.1" -- TLS cannot agree on another one
    elseif #with > 0 and #without == 0 and self.http_version == "auto" then
      self.http_version = "2"
    elseif #with == 0 then
      with = self.http_version == "2" and { "h2" } or { "h2", "http/1.1" }
    end
    self.tls_context, err = target_context(settings, without)
    if self.tls_context and self.http_version ~= "1.1" then
      self.tls_context_h2, err = target_context(settings, with)
    end
    local name = settings.serverName
    self.tls_name = name and name ~= "" and name or self.host ~= "" and self.host or nil
  end
  return err == nil, err
end

local function new_node(config, options)
  local md = read_metadata(config, options.hop_md)
  local address = config.addr or ""
  local host, port = addr.split(address)
  local name = config.name or address
  local id = ("node/%s/%s/%s"):format(options.scope or "", name, address)
  local self = setmetatable({
    id = id,
    name = name,
    label = options.hop and options.hop .. "/" .. name or name,
    addr = address,
    host = host,
    port = port,
    network = config.network ~= "" and config.network or nil,
    config = config,
    md = md,
    weight = md.weight and md.weight > 0 and md.weight or nil,
    backup = md.backup or false,
    proxy_version = (md.proxyProtocol or 0) > 0 and md.proxyProtocol or nil,
    http = config.http,
    mark = mark.new(id, md.maxFails, md.failTimeout),
  }, mt)
  local ok, err = read_conditions(self, config, options.registry)
  if not ok then
    return nil, err
  end
  ok, err = read_web(self, config, options)
  if not ok then
    return nil, err:during("node " .. self.label)
  end
  read_health(self, config, options)
  return self, md
end

-- Who knows the node's address: whom it names itself, else whom its hop names.
local function read_names(self, config, options)
  local registry, hop = options.registry, options.hop_config or {}
  local function named(key)
    return { [key] = config[key] ~= "" and config[key] or hop[key] }
  end
  if registry then
    self.resolver = resolver.of(named "resolver", registry)
    self.hosts = hosts.of(named "hosts", registry)
  end
end

--- Make a node of a hop.
-- @param options {hop = its name for messages, scope = what makes marks unique, hop_md = metadata,
--   hop_config, needs = what the hop's selector looks at, registry = where its policies are}
-- @return node | nil, err
function M.new(config, options)
  local self, md = new_node(config, options)
  if not self then
    return nil, md
  end
  local err
  self.dialer, err = make_part(self, "dialer", config.dialer, "tcp")
  if not self.dialer then
    return nil, err
  end
  self.connector, err = make_part(self, "connector", config.connector, "http")
  if not self.connector then
    return nil, err
  end

  self.layers = self.dialer.handshake and { self.dialer } or {}
  self.layers[#self.layers + 1] = self.connector.handshake and self.connector or nil
  md.keepalive = keepalive_of(self.dialer)
  self.sockets, err = sockets.new(md)
  if err then
    return nil, err:during("node " .. self.label)
  end
  self.kind = self.connector.name
  read_names(self, config, options)
  self.where = addr.is_ip(self.host) and self.port and addr.join(self.host, self.port) or nil
  return self
end

--- Make a target of a forwarder: it has an address, but nothing is spoken to it.
function M.target(config, options)
  local self, err = new_node(config, options)
  if not self then
    return nil, err
  end
  self.label, self.kind = "target", self.name
  return self
end

-- Of a client these are ordinary ends; of a node they say that it wanted to hear something else.
local HUNG_UP = { eof = true, reset = true, closed = true }

-- What an end on a node means for its operator, or nil.
local function reading_of(err)
  if HUNG_UP[err.code] then
    return "it hung up; its transport or protocol may be another"
  end
  local root = err:root()
  if err.code == "timeout" and (root.op == "read" or root.layer == "tls") then -- it was reached
    return "no answer in time; its transport or protocol may be another, or the target out of its reach"
  end
end

--- Say that something went wrong on this node: "hop-0/node-1 socks5 1.2.3.4:1080: …".
function methods:blame(err)
  return failure.new(err.code, reading_of(err), {
    op = self.kind and self.label .. " " .. self.kind or self.label,
    addr = self.addr,
    level = HUNG_UP[err.code] and "warn" or nil,
    cause = err,
  })
end

-- The PROXY header goes out before anything else.
local function introduce(self, ctx, stream, deadline)
  stream:set_deadline(deadline)
  local ok, err = proxy_protocol.send(ctx, stream, self.proxy_version)
  if not ok then
    stream:close()
    return nil, err:during("PROXY header")
  end
  stream:set_deadline(nil)
  return stream
end

--- A fresh stream that leads to the node, for dialers which keep sessions (`multiplex`): through the
-- nodes before it, or a socket with the node's options; PROXY header included.
-- @param via what ctx.via was when the dialer was asked to dial
-- @return stream | nil, err
function methods:carrier(ctx, via, deadline)
  local stream, err
  if via then
    return via(deadline)
  end
  local where = self.where
  if not where then
    where, err = router.resolve(ctx, self.addr, deadline, self)
    if not where then
      return nil, err
    end
  end
  stream, err = sockets.dial(self.sockets, ctx, where, deadline)
  if stream and self.proxy_version then
    return introduce(self, ctx, stream, deadline)
  end
  return stream, err
end

--- Connect to the node.
-- @param where "ip:port", a list of such, or the node's raw address for dialers that take it so
-- @return stream | nil, err
function methods:dial(ctx, where, deadline)
  local dialer = self.dialer
  local stream, err
  if dialer.dial then
    stream, err = dialer:dial(ctx, self, where, deadline)
  else
    stream, err = sockets.dial(self.sockets, ctx, where, deadline)
  end
  if stream and self.proxy_version and dialer.proxy_header ~= false and not dialer.multiplex then
    return introduce(self, ctx, stream, deadline)
  end
  return stream, err
end

--- Let dialer and connector shake hands over a stream that leads to the node.
-- @return stream | nil, err (the stream is closed then)
function methods:handshake(ctx, stream, deadline)
  local layers = self.layers
  for i = 1, #layers do
    local upper, err = layers[i]:handshake(ctx, stream, self, deadline)
    if not upper then
      stream:close()
      return nil, err
    end
    stream = upper
  end
  return stream
end

--- Reach the node itself and shake hands with it, as a probe does; a target is only dialed.
-- @return stream | nil, err
function methods:visit(ctx, deadline)
  if not self.dialer then
    local network = self.network == "unix" and "unix" or "tcp"
    return ctx.stages.dial(ctx, nil, network, self.addr, deadline)
  end
  local stream, err = ctx.stages.dial(ctx, self, "tcp", self.addr, deadline)
  if not stream then
    return nil, err
  end
  return self:handshake(ctx, stream, deadline)
end

--- Ask the node to connect further.
-- @return stream | nil, err (the stream is closed then)
function methods:connect(ctx, stream, network, address, deadline)
  local upper, err = self.connector:connect(ctx, stream, network, address, deadline)
  if not upper then
    stream:close()
    return nil, err
  end
  return upper
end

local function close_part(part)
  if part and part.close then
    part:close()
  end
end

--- Let go of what dialer and connector hold.
function methods:close()
  if self.probe then
    self.probe:stop()
  end
  close_part(self.dialer)
  close_part(self.connector)
end

--- @return whether a value is a node
function M.is(value)
  return getmetatable(value) == mt
end

return M
