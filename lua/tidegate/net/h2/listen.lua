-- What the listeners over HTTP/2 share.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local h2 = require "tidegate.native.h2"
local header = require "tidegate.net.http.header"
local keepalive = require "tidegate.net.keepalive"
local native = require "tidegate.native.tls"
local reload = require "tidegate.tls.reload"
local tls = require "tidegate.tls"

local M = {}

local KEYS = {
  mptcp = { type = "bool", default = false, doc = "accept multipath TCP" },
  backlog = { type = "int", default = 4096, doc = "connections the kernel keeps until accepted" },
  handshakeTimeout = { type = "duration", default = 30, doc = "limit on TLS, and on the preface of HTTP/2" },
  maxStreams = { type = "int", default = 1000, doc = "streams a client may have open at once" },
}

--- Add the common keys to a metadata schema.  @return the schema
function M.with(schema, prefix)
  for key, spec in pairs(KEYS) do
    schema[key] = spec
  end
  return keepalive.with(schema, prefix)
end

--- Make self.context, the TLS context.  @return true | nil, err
function M.open_tls(self, alpn)
  local registry = self.service and self.service.registry
  local err
  self.context, err = tls.server(self.tls, registry and registry.config.tls, alpn)
  return self.context ~= nil, err
end

--- Shake hands.  @return TLS stream, the protocol agreed on or nil | nil, err
function M.secure(self, ctx, stream)
  reload.check(self.context)
  -- Asked now: a handshake that fails uses the stream up.
  ctx.remote = stream:remote_address() or "@"
  ctx.local_address = stream:local_address() or "@"
  local upper, err = native.server(stream, self.context, ctx:after(self.md.handshakeTimeout))
  if not upper then
    return nil, err
  end
  local info = native.info(upper)
  return upper, info and info.alpn
end

local PREFACE = #"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

-- What says nothing, or drips, is no client; what speaks otherwise the session tells.
local function await_preface(self, ctx, stream)
  stream:set_deadline(ctx:after(self.md.handshakeTimeout))
  local begun, err = stream:peek(1)
  if begun and begun:byte() == 80 then -- P
    begun, err = stream:peek(PREFACE)
  end
  if not begun then
    return nil, err
  end
  stream:set_deadline(nil)
  return true
end

--- Begin a session over a stream.
-- @param options nil or more options for h2.start()
function M.session(self, ctx, stream, options)
  ctx.remote = stream:remote_address() or "@"
  ctx.local_address = stream:local_address() or "@"
  local ok, err = await_preface(self, ctx, stream)
  if not ok then
    stream:close()
    return nil, err:during "preface"
  end
  options = options or {}
  options.max_streams = self.md.maxStreams
  return h2.start(stream, options)
end

--- TLS, which must agree on HTTP/2, and a session over it.  @return session | nil, err
function M.secure_session(self, ctx, stream, options)
  local upper, protocol = M.secure(self, ctx, stream)
  if not upper then
    return nil, protocol
  elseif protocol and protocol ~= "h2" then
    upper:close()
    return nil, failure.new("protocol", ("the client chose %s, this is HTTP/2"):format(protocol),
      { layer = "h2" })
  end
  return M.session(self, ctx, upper, options)
end

-- The client that a proxy in front of us names, or nil.
local function named_client(headers)
  local function ip(text)
    text = text and text:match "^%s*(.-)%s*$"
    return text and addr.is_ip(text) and text or nil
  end
  local forwarded = headers["x-forwarded-for"]
  return ip(headers["cf-connecting-ip"]) or ip(forwarded and forwarded:match "^[^,]*")
    or ip(headers["x-real-ip"])
end

--- Take the client's address from the headers that proxies set, as gost does.
function M.name_client(ctx, headers)
  local client = named_client(headers)
  if client then
    ctx.src = addr.join(client, 0)
  end
end

--- Refuse a request.  @return nil, err
function M.refuse(stream, status, message)
  h2.respond(stream, { ":status", tostring(status), "date", header.date() }, true)
  stream:close()
  return nil, failure.new("protocol", message, { layer = "h2", op = "request" })
end

return M
