-- Transports that are layers over TCP: TLS, WebSocket, a session that carries many streams, in this
-- order and each optional.  A listener or dialer says which it has:
--
--   { tls = true, ws = true, mux = 1 }     the default version of the session's protocol
--
-- and gets its metadata keys and functions from here.

local failure = require "tidegate.failure"
local http1 = require "tidegate.native.http1"
local keepalive = require "tidegate.net.keepalive"
local mux_schema = require "tidegate.net.mux_schema"
local native = require "tidegate.native.tls"
local path = require "tidegate.net.ws.path"
local proxied = require "tidegate.net.h2.listen"
local reload = require "tidegate.tls.reload"
local sessions = require "tidegate.net.sessions"
local tls = require "tidegate.tls"
local ws = require "tidegate.net.ws"

local M = {}

local ATTEMPTS = 3 -- sessions tried for one stream: an old one may turn out to be dead

local function add(schema, keys)
  for key, spec in pairs(keys) do
    schema[key] = spec
  end
end

-- Keys of WebSockets are known with and without their prefix.
local function ws_keys(keys)
  local schema = {}
  for name, spec in pairs(keys) do
    spec.aliases = { name }
    schema["ws." .. name] = spec
  end
  return schema
end

local function ws_common()
  return {
    path = { type = "string", default = "/ws", doc = "path of the request" },
    readBufferSize = { type = "int", default = 0, doc = "known to gost; no effect here" },
    writeBufferSize = { type = "int", default = 0, doc = "known to gost; no effect here" },
    enableCompression = {
      type = "bool", default = false, doc = "permessage-deflate, when the other side agrees",
    },
  }
end

local function both(deadline, other)
  return deadline and other and math.min(deadline, other) or deadline or other
end

-- Listening -----------------------------------------------------------------------------------------

--- The metadata keys of a listener with these layers.
function M.listener_metadata(layers)
  local schema = {
    mptcp = { type = "bool", default = false, doc = "accept multipath TCP" },
    reuseport = { type = "bool", default = false, doc = "share the port with other processes" },
    backlog = {
      type = "int", default = 4096, doc = "connections the kernel keeps until accepted",
      aliases = layers.ws and { "ws.backlog" } or nil,
    },
  }
  keepalive.with(schema)
  local timeout = { type = "duration", default = 30, doc = "limit on all handshakes together" }
  if layers.ws then
    local keys = ws_common()
    keys.header = { type = "map", doc = "header fields added to the answer" }
    keys.handshakeTimeout = timeout
    keys.readHeaderTimeout = { type = "duration", default = 0, doc = "limit on the request's head" }
    add(schema, ws_keys(keys))
  else
    schema.handshakeTimeout = timeout
  end
  return layers.mux and mux_schema.with(schema, layers.mux) or schema
end

--- @return the function `open` of a listener
function M.open_listener(layers)
  return function(self)
    local err
    if layers.tls then
      local registry = self.service and self.service.registry
      self.context, err = tls.server(self.tls, registry and registry.config.tls)
      if not self.context then
        return nil, err
      end
    end
    if layers.ws then
      self.pattern, err = path.parse(self.md["ws.path"])
      if not self.pattern then
        return nil, failure.new("config", err)
      end
      self.fields, err = ws.fields(self.md["ws.header"])
      if not self.fields then
        return nil, err
      end
    end
    return true
  end
end

local function accept_ws(self, ctx, stream, deadline)
  local md = self.md
  local upper, request = ws.accept(stream, {
    path = self.pattern,
    fields = self.fields,
    compress = md["ws.enableCompression"],
  }, both(deadline, ctx:after(md["ws.readHeaderTimeout"])))
  if upper then
    proxied.name_client(ctx, http1.map(request))
  end
  return upper, request
end

--- @return the function `accept` of a listener
function M.accept(layers)
  return function(self, ctx, stream)
    -- Asked now: a handshake that fails uses the stream up.
    ctx.remote = stream:remote_address() or "@"
    ctx.local_address = stream:local_address() or "@"
    local deadline = ctx:after(self.md.handshakeTimeout or self.md["ws.handshakeTimeout"])
    local err
    if layers.tls then
      reload.check(self.context)
      stream, err = native.server(stream, self.context, deadline)
      if not stream then
        return nil, err
      end
      ctx:own(stream)
    end
    if layers.ws then
      stream, err = accept_ws(self, ctx, stream, deadline)
      if not stream then
        return nil, err
      end
    end
    return layers.mux and mux_schema.start(stream, self.md, false) or stream
  end
end

-- Dialing -------------------------------------------------------------------------------------------

--- The metadata keys of a dialer with these layers.
function M.dialer_metadata(layers)
  local schema = {}
  local timeout = { type = "duration", doc = "limit on all handshakes together" }
  if layers.ws then
    local keys = ws_common()
    keys.host = { type = "string", default = "", doc = "Host of the request instead of the node's address" }
    keys.header = { type = "map", doc = "header fields added to the request" }
    keys.handshakeTimeout = timeout
    keys.readHeaderTimeout = { type = "duration", doc = "known to gost; no effect" }
    keys.keepalive = { type = "bool", default = false, doc = "send pings, and expect answers" }
    add(schema, ws_keys(keys))
    schema.ttl = {
      type = "duration", aliases = { "keepalive.interval" }, default = 15, doc = "time between pings",
    }
    keepalive.with(schema, "tcp.")
  else
    schema.handshakeTimeout = timeout
    keepalive.with(schema)
  end
  return layers.mux and mux_schema.with(schema, layers.mux, true) or schema
end

--- @return the function `open` of a dialer
function M.open_dialer(layers)
  return function(self)
    local md, err = self.md, nil
    if layers.tls then
      self.context, err = tls.client(self.tls)
      if not self.context then
        return nil, err
      end
    end
    if layers.ws then
      self.request, err = ws.request {
        host = md["ws.host"] ~= "" and md["ws.host"] or self.node.addr,
        path = md["ws.path"],
        header = md["ws.header"],
        compress = md["ws.enableCompression"],
      }
      if not self.request then
        return nil, err
      end
      self.ws_options = {
        compress = md["ws.enableCompression"],
        keepalive = md["ws.keepalive"] and md.ttl or nil,
      }
    end
    if layers.mux then
      self.pool = sessions.new { idle = md["mux.idleTimeout"], streams = md["mux.maxStreams"] }
    end
    return true
  end
end

-- All layers but the session.  @return stream; the one given is used up when there is none | nil, err
local function put_on(layers, self, ctx, stream, deadline)
  local err
  deadline = both(deadline, ctx:after(self.md.handshakeTimeout or self.md["ws.handshakeTimeout"]))
  if layers.tls then
    reload.check(self.context)
    stream, err = native.client(stream, self.context, self.tls and self.tls.serverName, deadline)
    if not stream then
      return nil, err
    end
  end
  if layers.ws then
    local upper
    upper, err = ws.connect(stream, self.request, self.ws_options, deadline)
    if not upper then
      stream:close()
      return nil, err
    end
    stream = upper
  end
  return stream
end

--- @return the function `handshake` of a dialer without sessions
function M.handshake(layers)
  return function(self, ctx, stream, _, deadline)
    return put_on(layers, self, ctx, stream, deadline)
  end
end

--- @return the function `dial` of a dialer with sessions
function M.dial(layers)
  return function(self, ctx, node, _, deadline)
    local via, err = ctx.via, nil
    local function connect()
      local stream, why = node:carrier(ctx, via, deadline)
      if stream then
        stream, why = put_on(layers, self, ctx, stream, deadline)
      end
      if not stream then
        return nil, why
      end
      return mux_schema.start(stream, self.md, true)
    end
    for _ = 1, ATTEMPTS do
      local session, used = self.pool:take(connect, deadline)
      if not session then
        return nil, used
      end
      local stream
      stream, err = session:open()
      if stream then
        return stream
      end
      self.pool:forget(session)
    end
    return nil, err
  end
end

--- The function `close` of a dialer with sessions.
function M.close(self)
  if self.pool then
    self.pool:close()
  end
end

return M
