-- The way of a forwarder that looks: a target for each connection, and for HTTP one for each request.

local base64 = require "tidegate.net.http.base64"
local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"
local missing = require "tidegate.handler.forward.missing"
local reach = require "tidegate.handler.forward.reach"
local recording = require "tidegate.handler.http.record"
local request_of = require "tidegate.handler.forward.request"
local rewriting = require "tidegate.handler.http.rewriting"
local target_origin = require "tidegate.handler.forward.origin"

local M = {}
local methods = {}
local mt = { __index = methods }

--- @param self the handler: service, sniffer, proxy_version
-- @param network "tcp" or "unix": how targets are reached that do not say it
function M.new(self, ctx, network)
  return setmetatable({ handler = self, network = network, client_ip = ctx.client_ip }, mt)
end

-- @return node | nil, err
local function select(self, ctx, request)
  local forwarder = self.handler.service.forwarder
  local node, err
  if forwarder then
    node, err = forwarder:select(ctx, "tcp", "", request)
  end
  if node then
    ctx.node = node.name
    return node
  end
  return nil, missing(self.handler, err)
end

--- Connect for what is no HTTP.
function methods:connect(ctx, found)
  local node, err = select(self, ctx, {
    proto = found.proto, host = found.host or found.name, client_ip = self.client_ip, ctx = ctx,
  })
  if not node then
    return nil, err
  end
  self.node = node
  return reach(self.handler, ctx, node, {
    network = self.network, host = found.host, port = found.proto == "tls" and 443 or 0,
  })
end

-- Is the client one that this target wants to know?
local function knows(settings, request)
  local auth = settings.auth
  local value = head.get(request, "authorization") or ""
  local plain = base64.decode(value:match "^[Bb][Aa][Ss][Ii][Cc] +(.*)$" or "")
  return plain == auth.username .. ":" .. auth.password
end

-- What goes to the target, as its settings say.
local function change_head(request, settings)
  local fields = settings.request_fields
  request.send_host = settings.host or fields and fields.host or request.send_host
  if #settings.urls > 0 then
    request.send_target = settings:rewrite_url(request.send_target)
  end
  local dropped = request.dropped
  if request.continued then
    dropped = request_of.DROPPED_CONTINUED
  end
  if request.whole_body then
    dropped = request_of.DROPPED_WHOLE
    request.added = ("Content-Length: %d\r\n"):format(#request.whole_body)
  end
  if fields then
    dropped = fields:without(dropped)
    request.added = (request.added or "") .. fields.lines
  end
  request.dropped = dropped
end

local function prepare(self, ctx, stream, request, settings)
  if settings.auth and not knows(settings, request) then
    return nil, failure.new("auth", "the target wants other credentials", { level = "debug" }), 401
  end
  local ok, err = rewriting.request(self.handler.sniffer, ctx, stream, request, settings)
  if not ok then
    return nil, err, 502
  end
  request.settings = settings
  local before_host, before_target = request.send_host, request.send_target
  change_head(request, settings)
  if request.rec then
    recording.changed(request.rec, request, before_host, before_target)
  end
  return true
end

--- What is done to requests inside of intercepted TLS, whose target was chosen by its name.
-- @return function(ctx, request, stream) → true | nil, err, the status for the client; nil: nothing
function methods:inside()
  local settings = self.node and self.node.rewrite
  return settings and function(ctx, request, stream)
    request.dropped = request_of.DROPPED
    return prepare(self, ctx, stream, request, settings)
  end
end

--- Choose the target of a request, and do to it what the target's settings say.
-- @return origin | nil, err, the status for the client
function methods:origin(ctx, request, stream)
  local engine = self.handler.sniffer
  request.dropped, request.send_target = request_of.DROPPED, request.path
  request.send_host = request.url_host or request.host or "" -- an absolute target outranks Host (RFC 9112 3.2.2)
  if not engine.keepalive and not ctx.carrier_of_h2 then
    request.persistent = false
  end

  local forwarder = self.handler.service.forwarder
  local asked = request_of.describe(ctx, request, self.client_ip)
  if forwarder and forwarder:body_limit() then
    local bytes, err = rewriting.peek(engine, stream, request, forwarder:body_limit())
    if not bytes then
      return nil, err:during "request body", 400
    end
    asked.body = bytes
  end
  local node, err = select(self, ctx, asked)
  if not node then
    return nil, err, 502
  end
  ctx.sniffed = { protocol = "http", host = request.host }
  local settings = node.rewrite
  if settings then
    local ok, why, status = prepare(self, ctx, stream, request, settings)
    if not ok then
      return nil, why, status
    end
  elseif request.continued then
    request.dropped = request_of.DROPPED_CONTINUED
  end
  return target_origin.new(self.handler, node, self.network, asked.host)
end

return M
