-- Proxy by name: TLS goes to the server its ClientHello names, port 443; HTTP to the Host of its request,
-- port 80.  Names that gost's clients hide are understood and put back.

local addr = require "tidegate.net.addr"
local cache = require "tidegate.handler.http.cache"
local client_hello = require "tidegate.native.client_hello"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"
local lazy = require "tidegate.lazy"
local h2 = lazy "tidegate.handler.sniffing.h2"
local http = require "tidegate.handler.sniffing.http"
local name = require "tidegate.net.http.name"
local sniff = require "tidegate.native.sniff"
local sniffing = require "tidegate.handler.sniffing"
local tls = require "tidegate.handler.sniffing.tls"
local tunnel = require "tidegate.handler.sniffing.tunnel"

local TLS_HANDSHAKE = 22
local HIDDEN = { "gost-target", "x-gost-target" }
local OURS = { ["gost-target"] = true, ["x-gost-target"] = true }
local WITH_HOST = { ["gost-target"] = true, ["x-gost-target"] = true, host = true }

local function nowhere(message)
  return nil, failure.new("protocol", message, { layer = "sni" })
end

-- @return target, the bytes to send on, what was seen | nil, err
local function from_hello(stream)
  local hello, err = stream:receive(client_hello.hello)
  if not hello then
    return nil, err:during "client hello"
  end
  local bytes, host = hello.bytes, hello.server_name
  local hidden = client_hello.hidden(bytes)
  hidden = hidden and name.decode(hidden)
  if hidden and host then
    bytes, err = client_hello.rename(bytes, hidden)
    if not bytes then
      return nil, err
    end
    host = hidden
  end
  if not host then
    return nowhere "TLS without a server name: nowhere to go"
  end
  return addr.join(host, 443), bytes, { protocol = "tls", host = host }
end

-- The fields as they came, but for those that hide a name.
local function written_anew(request, host)
  local fields = head.lines(request.fields, host and WITH_HOST or OURS)
  return ("%s %s HTTP/1.%d\r\n%s%s\r\n"):format(request.method, request.target, request.minor,
    host and ("Host: %s\r\n"):format(host) or "", fields)
end

local function from_request(stream)
  local request, err = head.request(stream)
  if not request then
    return nil, err:during "http request"
  end
  local host, hidden = request.host, nil
  for _, field in ipairs(HIDDEN) do
    local text = head.get(request, field)
    hidden = text and name.decode(text) or hidden
  end
  host = hidden or host
  if not host or host == "" then
    return nowhere "a request without a Host: nowhere to go"
  end
  return addr.with_port(host, 80), written_anew(request, hidden), { protocol = "http", host = host }
end

-- Does anybody want to know more than the first name?
local function looks(self)
  local service, engine = self.service, self.sniffer
  return engine.mitm or engine.websocket or service.bypass or service.cache
    or service.recorders and service.recorders["recorder.service.handler"]
end

-- Request by request, or TLS with its hellos recorded or intercepted.  What is neither hears nothing.
local function look(self, ctx, stream)
  local word, err = stream:receive(sniff.first)
  if not word then
    return nil, err:during "sniff"
  end
  local way = tunnel.by_name(ctx)
  if word == "http" then
    return http.serve(self.sniffer, ctx, stream, way)
  elseif word == "http2" then
    return h2.serve(self.sniffer, ctx, stream, way)
  elseif word ~= "tls" then
    return nowhere "neither HTTP nor TLS: nowhere to go"
  end
  local _, bytes = from_hello(stream)
  if type(bytes) ~= "string" then
    return nil, bytes
  end
  local ok
  ok, err = stream:unread(bytes)
  if not ok then
    return nil, err
  end
  return tls.serve(self.sniffer, ctx, stream, way)
end

local function handle(self, ctx, stream)
  stream:set_deadline(ctx:after(self.read_timeout))
  if looks(self) then
    return look(self, ctx, stream)
  end
  local seen, err = stream:peek(1)
  if not seen then
    return nil, err:during "sniff"
  end
  local find = seen:byte() == TLS_HANDSHAKE and from_hello or from_request
  local target, bytes, what = find(stream)
  if not target then
    return nil, bytes
  end
  stream:set_deadline(nil)
  ctx.sniffed = what
  local upstream
  upstream, err = ctx:connect("tcp", target)
  if not upstream then
    return nil, err
  end
  local ok
  ok, err = upstream:write(bytes)
  if not ok then
    return nil, err:during "send what was read"
  end
  return ctx:relay(stream, upstream)
end

local METADATA = sniffing.with {
  readTimeout = { type = "duration", default = 15, min = 0, doc = "limit on the first bytes" },
  hash = { type = "string", doc = "host: the strategy hash looks at the target, not the client" },
}
for key, spec in pairs(cache.METADATA) do
  METADATA[key] = spec
end

return component.handler "sni" {
  doc = "proxy by the server name of TLS or the Host of HTTP",
  metadata = METADATA,

  open = function(self)
    local timeout = self.md.readTimeout
    self.read_timeout = timeout and timeout > 0 and timeout or 15
    return sniffing.open(self, { always = true, reveals = true })
  end,
  handle = handle,
}
