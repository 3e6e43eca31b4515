-- HTTP/1.x proxy: CONNECT tunnels and forwarded requests.

local auth = require "tidegate.handler.http.auth"
local cache = require "tidegate.handler.http.cache"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local forward = require "tidegate.handler.http.forward"
local head = require "tidegate.net.http.head"
local lazy = require "tidegate.lazy"
local linger = require "tidegate.net.linger"
local pool = require "tidegate.net.http.pool"
local probe = require "tidegate.handler.http.probe"
local recording = require "tidegate.handler.http.record"
local reply = require "tidegate.handler.http.reply"
local rewrite = lazy "tidegate.chain.rewrite"
local sniffing = require "tidegate.handler.sniffing"
local target = require "tidegate.handler.http.target"
local udp = require "tidegate.handler.http.udp"

local BAD_REQUEST = reply.closing(400)
local TOO_LARGE = reply.closing(431)
local KEEP = forward.KEEP

local METADATA = {
  headTimeout = {
    type = "duration",
    default = 60,
    doc = "limit on receiving a request head and on the pause before the next; negative: none",
  },
  bodyTimeout = {
    type = "duration",
    default = 300,
    doc = "how long a client may stop sending or taking a body; negative: none",
  },
  readTimeout = {
    type = "duration",
    default = 15,
    doc = "limit on the wait for the head of a response; negative: none",
  },
  idleTimeout = { type = "duration", default = 0, doc = "silence that ends a tunnel; 0: none" },
  ["http.header"] = {
    type = "map",
    aliases = { "header" },
    doc = "header fields added to the proxy's own replies",
  },
  ["http.keepalive"] = {
    type = "bool",
    default = false,
    aliases = { "keepalive" },
    doc = "keep connections to upstreams open for further requests",
  },
  ["http.compression"] = {
    type = "bool",
    default = false,
    aliases = { "compression" },
    doc = "ask upstreams for gzip and unpack it",
  },
  ["http.proxyAgent"] = {
    type = "string",
    default = "gost/3.0",
    aliases = { "proxyAgent" },
    doc = "value of Proxy-Agent",
  },
  probeResist = {
    type = "string",
    aliases = { "probe_resist" },
    doc = "decoy for clients without credentials: code:N, web:URL, host:ADDRESS or file:PATH",
  },
  knock = {
    type = "list",
    split = ",",
    doc = "hosts whose naming makes the decoy give way to the demand for credentials",
  },
  authBasicRealm = {
    type = "string",
    default = "gost",
    doc = "realm of the demand for credentials",
  },
  authEveryRequest = {
    type = "bool",
    default = false,
    doc = "check the credentials of every request of a connection, not of the first alone",
  },
  udp = { type = "bool", default = false, doc = "allow UDP over HTTP" },
  ["udp.bufferSize"] = {
    type = "int",
    default = 4096,
    aliases = { "udpBufferSize" },
    doc = "of gost; datagrams are never cut here",
  },
  hash = { type = "string", doc = "`host`: select nodes by the target instead of the client" },
}

for key, spec in pairs(cache.METADATA) do
  METADATA[key] = spec
end
sniffing.with(METADATA)

local function milliseconds(seconds)
  return seconds and seconds > 0 and seconds * 1000 or 0
end

-- What gost's handler http2 does otherwise: the configured fields are in all responses but refusals, and what
-- names no port means that of HTTPS.
local function adapt(self)
  local md = self.md
  self.forbidden = reply.closing(403)
  self.established = ("HTTP/1.1 200 Connection established\r\n%s\r\n"):format(reply.fields(md["http.header"]))
  self.connect_port, self.decoy_status = 443, 0
  local err
  self.response_settings, err = rewrite.new { http = { responseHeader = md["http.header"] } }
  return err == nil or nil, err
end

local function open(self)
  local md = self.md
  local decoy, err = probe.parse(md.probeResist)
  if err then
    return nil, err
  end
  self.decoy, self.knock = decoy, {}
  for _, host in ipairs(md.knock or {}) do
    self.knock[host:lower()] = true
  end

  local fields = reply.fields(md["http.header"], { ["Proxy-Agent"] = md["http.proxyAgent"] })
  self.bad_request = reply.closing(400, reply.fields(md["http.header"]))
  self.forbidden = reply.closing(403, fields)
  self.unavailable = reply.closing(503, fields)
  self.established = ("HTTP/1.1 200 Connection established\r\nProxy-Agent: %s\r\n\r\n")
    :format((md["http.proxyAgent"]:gsub("[%z\r\n]", "")))
  self.udp_reply = udp.reply(md)
  self.stall = milliseconds(md.bodyTimeout)
  cache.open(self)
  self.relay_options = md.idleTimeout > 0 and { idle = md.idleTimeout * 1000 } or nil
  self.pool = md["http.keepalive"] and pool.new() or nil
  if self.over_h2 then
    local ok, why = adapt(self)
    if not ok then
      return nil, why
    end
  end
  return sniffing.open(self)
end

local function close(self)
  if self.pool then
    self.pool:close()
  end
end

-- Refuse a request for good; its connection ends.
local function refuse(ctx, stream, request, bytes, err)
  recording.replied(ctx, bytes)
  stream:write(bytes)
  if request.method ~= "CONNECT" and head.request_framing(request) ~= 0 then
    linger(stream)
  end
  return nil, err
end

local function connect(self, ctx, stream, request)
  local upstream, err = ctx:connect("tcp", request.address)
  if not upstream then
    return refuse(ctx, stream, request, self.unavailable, err)
  end
  recording.replied(ctx, self.established)
  local ok
  ok, err = stream:write(self.established)
  if not ok then
    return nil, err:during("reply")
  end
  stream:set_deadline(nil)
  return sniffing.join(self, ctx, stream, upstream, self.relay_options)
end

-- What is wrong with a request before anybody is asked, or nil.
local function unusable(request, datagrams)
  if request.method == "PRI" then
    return "HTTP/2 without TLS is not spoken here"
  elseif request.method ~= "CONNECT" and request.scheme ~= "http" then
    return ("not a request for a proxy: %s %s"):format(request.method, request.target)
  elseif not request.address and not (datagrams and request.authority == "") then
    return ("no usable host: %q"):format(request.authority)
  end
end

local function wants_datagrams(request)
  return request.private and head.get(request, "x-gost-protocol") == "udp"
end

-- One request.  @return as forward.serve
local function serve(self, ctx, stream, request, follows)
  if not follows or self.md.authEveryRequest then
    local ok, err = auth.check(ctx, request)
    if not ok then
      return probe.refuse(self, ctx, stream, request, err)
    end
  end

  local datagrams = wants_datagrams(request)
  local problem = unusable(request, datagrams)
  if problem then
    return refuse(ctx, stream, request, self.bad_request, failure.new("protocol", problem))
  end
  local ok, err = ctx:allow(datagrams and "udp" or "tcp", request.address or "")
  if not ok then
    if follows and request.method ~= "CONNECT" then
      return forward.forbid(ctx, stream, request, err)
    end
    return refuse(ctx, stream, request, self.forbidden, err)
  end

  if datagrams then
    return udp.serve(self, ctx, stream)
  elseif request.method == "CONNECT" then
    return connect(self, ctx, stream, request)
  end
  request.settings = self.response_settings
  return forward.serve(self, ctx, stream, request)
end

-- No request came: an idle client left, or somebody does not speak HTTP.
local function no_request(self, stream, follows, err)
  local code = err.code
  if follows and (code == "eof" or code == "timeout" or code == "reset") then
    return true
  elseif (code == "protocol" or code == "limit") and not self.decoy then
    stream:write(code == "limit" and TOO_LARGE or BAD_REQUEST)
    linger(stream)
  end
  return nil, err:during("request")
end

local function handle(self, ctx, stream)
  local follows = false
  while true do
    stream:set_deadline(ctx:after(self.md.headTimeout))
    local request, err = head.request(stream)
    if not request then
      return no_request(self, stream, follows, err)
    end
    target.read(request, false, self.connect_port)
    request.rec = recording.begin(ctx, request)
    local result
    result, err = serve(self, ctx, stream, request, follows)
    if result ~= KEEP then
      return result ~= nil or nil, err
    end
    follows = true
  end
end

return component.handler "http" {
  doc = "HTTP proxy: CONNECT tunnels, forwarded requests, UDP over HTTP",
  metadata = METADATA,
  open = open,
  close = close,
  handle = handle,
}
