-- Looking into what goes through a tunnel: HTTP, TLS, DNS, Redis and SSH are told by their first bytes.
--
-- A way says where the tunnel leads:
--   way.upstream            the stream to the other end, when it is open already
--   way:connect(ctx, found) → stream to where `found` { proto, host = "host:port" or nil, name = what DNS asks
--                              for } goes | nil, err
--   way:origin(ctx, request) → where a request of HTTP goes (tidegate.handler.http.origin)
--                              | nil, err, the status that the client is told
-- Ways are made by tidegate.handler.sniffing.tunnel and, for forwarders, tidegate.handler.forward.choice.

local cache = require "tidegate.handler.http.cache"
local lazy = require "tidegate.lazy"
local mitm = lazy "tidegate.handler.sniffing.mitm"
local redis = require "tidegate.handler.sniffing.redis"
local sniff = require "tidegate.native.sniff"
local task = require "tidegate.native.task"
local tunnel = require "tidegate.handler.sniffing.tunnel"

local M = {}

local STALL_MS = 300000 -- how long one may stop sending or taking a body
local READ_TIMEOUT = 15 -- seconds, on the head of a response

--- Keys of every handler that can look.
M.METADATA = {
  sniffing = { type = "bool", default = false, doc = "look into HTTP, TLS, SSH, DNS and Redis" },
  ["sniffing.timeout"] = {
    type = "duration",
    default = 0,
    doc = "how long to wait for the client's first bytes; 0: until one side speaks",
  },
  ["sniffing.websocket"] = { type = "bool", default = false, doc = "record frames of WebSockets" },
  ["sniffing.websocket.sampleRate"] = {
    type = "float",
    default = 10,
    doc = "frames recorded each second and direction; negative: all",
  },
}
for key, spec in pairs(mitm.METADATA) do
  M.METADATA[key] = spec
end

--- Add the keys to a handler's schema.  @return the schema
function M.with(schema)
  for key, spec in pairs(M.METADATA) do
    schema[key] = schema[key] or spec
  end
  return schema
end

--- Prepare a handler: `self.sniffer` when it looks, else nil.
-- @param options nil or { always = it looks whatever sniffing says, reveals = names that gost's clients hide
--   in a request are put back }
-- @return true | nil, err
function M.open(self, options)
  options = options or {}
  local md = self.md
  self.websocket = md["sniffing.websocket"] and (md["sniffing.websocket.sampleRate"] or 10) or nil
  if not (md.sniffing or options.always) then
    return true
  end
  local intercept, err = mitm.new(self)
  if err then
    return nil, err
  end
  local engine = {
    md = setmetatable({ readTimeout = md.readTimeout or READ_TIMEOUT, ["http.compression"] = false }, { __index = md }),
    stall = STALL_MS,
    relay_options = self.relay_options,
    cacheable = {},
    mitm = intercept,
    reveals = options.reveals,
    websocket = self.websocket,
  }
  if md["cache.methods"] then
    cache.open(engine)
  end
  self.sniffer = engine
  return true
end

-- Whoever speaks first, if the server does there is nothing to look for: its protocol is none of these.
local function watch(stream, upstream)
  local watcher = { waiter = task.waiter(), done = false, waits = false }
  task.spawn(function()
    if watcher.done then
      return
    end
    watcher.waits = true
    upstream:peek(1)
    watcher.waits = false
    if not watcher.done then
      stream:interrupt()
    end
    watcher.waiter:wake()
  end)
  return watcher
end

local function dismiss(watcher, upstream)
  watcher.done = true
  if watcher.waits then
    upstream:interrupt()
    watcher.waiter:wait()
  end
end

-- What the connection begins with.  @return word, "none" for anything else | nil, err
local function detect(ctx, stream, way, timeout)
  local watcher = way.upstream and watch(stream, way.upstream)
  stream:set_deadline(ctx:after(timeout))
  local word, err = stream:receive(sniff.first)
  stream:set_deadline(nil)
  if watcher then
    dismiss(watcher, way.upstream)
  end
  if word then
    return word
  elseif err.code == "timeout" or err.code == "eof" or err.code == "canceled" then
    return "none"
  end
  return nil, err:during "sniffing"
end

-- Nothing more to see.
local function pass(engine, ctx, stream, way, word)
  local known = word == "redis" or word == "ssh"
  if known then
    ctx.sniffed = { protocol = word }
  end
  if word == "redis" then
    redis.look(ctx, stream)
  end
  local upstream, err = way:connect(ctx, { proto = known and word or nil })
  if not upstream then
    return nil, err
  end
  return ctx:relay(stream, upstream, engine.relay_options)
end

local PROTOCOLS = {
  http = "tidegate.handler.sniffing.http",
  http2 = "tidegate.handler.sniffing.h2",
  tls = "tidegate.handler.sniffing.tls",
  dns = "tidegate.handler.sniffing.dns",
}

--- Look at a stream and serve it as what it is; the handler's last act.
-- @return true | nil, err
function M.serve(engine, ctx, stream, way)
  local word, err = detect(ctx, stream, way, engine.md["sniffing.timeout"])
  if not word then
    return nil, err
  end
  local protocol = PROTOCOLS[word]
  if protocol then
    return require(protocol).serve(engine, ctx, stream, way)
  end
  return pass(engine, ctx, stream, way, word)
end

--- Join a proxy's client and the target it asked for, looking if the handler is to.
-- @param options of the relay
-- @return true | nil, err
function M.join(self, ctx, stream, upstream, options)
  local engine = self.sniffer
  if not engine then
    return ctx:relay(stream, upstream, options)
  end
  ctx.http_rx, ctx.http_tx = stream:counts() -- what opened the tunnel is no part of the first request in it
  return M.serve(engine, ctx, stream, tunnel.new(ctx, upstream))
end

return M
