-- Intercepting TLS with an authority of the operator's: who asks for a name gets a certificate for it made on
-- the fly, and what is inside is looked at like anything else.

local addr = require "tidegate.net.addr"
local bypass = require "tidegate.policy.bypass"
local failure = require "tidegate.failure"
local hello_object = require "tidegate.handler.sniffing.hello"
local native = require "tidegate.native.tls"
local record = require "tidegate.process.record"
local tls = require "tidegate.tls"
local tunnel = require "tidegate.handler.sniffing.tunnel"
local uv = require "luv"

local M = {}
local methods = {}
local mt = { __index = methods }

local DAY = 86400
local VALIDITY = 7 * DAY -- before and after, as gost's
local RENEW = 3 * DAY
local KEPT = 1000 -- names whose certificates are kept in a worker
local TIMEOUT = 15 -- seconds for both handshakes together

M.METADATA = {
  ["mitm.certFile"] = {
    type = "string",
    aliases = { "mitm.caCertFile" },
    doc = "authority which vouches for the names of intercepted TLS",
  },
  ["mitm.keyFile"] = { type = "string", aliases = { "mitm.caKeyFile" }, doc = "its key" },
  ["mitm.alpn"] = {
    type = "list",
    split = ",",
    doc = "application protocols offered to both sides, instead of the client's",
  },
  ["mitm.bypass"] = { type = "string", ref = "bypasses", doc = "names that are passed through" },
}

local function is_set(text)
  return text ~= nil and text ~= ""
end

--- The interceptor of a handler.
-- @return interceptor, or nil when none is configured | nil, err
function M.new(self)
  local cert, key = self.md["mitm.certFile"], self.md["mitm.keyFile"]
  if not is_set(cert) and not is_set(key) then
    return nil
  elseif not (is_set(cert) and is_set(key)) then
    return nil, failure.new("config", "mitm needs both certFile and keyFile")
  end
  local usable, err = native.context { role = "server", certificates = { { cert = cert, key = key } } }
  if not usable then
    return nil, err:during "mitm"
  end
  local _, own_key = native.generate { common_name = "tidegate" }
  if not own_key or type(own_key) ~= "string" then
    return nil, failure.wrap(own_key)
  end
  return setmetatable({
    cert = cert,
    key = key,
    own_key = own_key,
    alpn = self.md["mitm.alpn"],
    bypass = bypass.of({ bypass = self.md["mitm.bypass"] }, self.service and self.service.registry),
    contexts = {},
    count = 0,
  }, mt)
end

--- Is this connection to be intercepted?  Only what speaks HTTP can be looked into.
-- @param self an interceptor, or nil
-- @param hello as tidegate.native.client_hello gives it
function M.wants(self, ctx, hello, host)
  local first = hello.alpn[1]
  if not self or first ~= "h2" and first ~= "http/1.1" then
    return false
  end
  host = host or ctx.target or ""
  return not (self.bypass and self.bypass:contains(ctx, "tcp", host, { host = host }))
end

-- @return context with a certificate for the name | nil, err
function methods:context(name)
  local now = uv.hrtime() / 1e9
  local kept = self.contexts[name]
  if kept and now < kept.till then
    return kept.context
  end
  local cert, err = native.mint {
    ca_cert = self.cert, ca_key = self.key, key = self.own_key, name = name, validity = VALIDITY,
  }
  if not cert then
    return nil, err
  end
  local context
  context, err = native.context {
    role = "server",
    certificates = { { cert = cert, key = self.own_key } },
    alpn = self.alpn or { "h2", "http/1.1" },
  }
  if not context then
    return nil, err
  end
  if self.count >= KEPT then
    self.contexts, self.count = {}, 0
  end
  self.contexts[name], self.count = { context = context, till = now + RENEW }, self.count + 1
  return context
end

-- What is offered to the server: of what the client offers, that which can be looked into.
local function upstream_alpn(offered, plain)
  local list = {}
  for _, name in ipairs(offered) do
    if name == "http/1.1" or name == "h2" and not plain then
      list[#list + 1] = name
    end
  end
  return #list > 0 and list or { "http/1.1" }
end

-- @param plain whether to offer HTTP/1.1 alone
-- @return a function that puts TLS over streams to the real server: → stream, protocol | nil, err
local function encrypter(self, ctx, hello, name, plain)
  local context, err = tls.client({ secure = hello.server_name ~= nil },
    upstream_alpn(self.alpn or hello.alpn, plain))
  if not context then
    return nil, err
  end
  return function(stream, deadline)
    local upper, why = native.client(stream, context, name, deadline or ctx:after(TIMEOUT))
    if not upper then
      return nil, why:during("TLS of " .. name)
    end
    local info = native.info(upper)
    return upper, info and info.alpn
  end
end

-- @return a function that opens further connections: ctx → stream, protocol | nil, err
local function dialer(way, encrypt, host)
  return function(ctx)
    local stream, err = way:connect(ctx, { proto = "tls", host = host })
    if not stream then
      return nil, err
    end
    local upper, protocol = encrypt(stream)
    return upper and ctx:own(upper), protocol
  end
end

--- Stand between client and server.
-- @param upstream the stream to the server, nothing sent yet
-- @param way where further connections come from
-- @return true | nil, err
function M.serve(engine, ctx, stream, upstream, way, hello)
  local self = engine.mitm
  local name = (hello.server_name or addr.host(ctx.target or "")):lower()
  if name == "" then
    return nil, failure.new("protocol", "TLS for nobody: no server name and no target")
  end
  local deadline = ctx:after(TIMEOUT)
  local encrypt, err = encrypter(self, ctx, hello, name)
  local secured, context, agreed
  if encrypt then
    secured, agreed = encrypt(upstream, deadline)
    err = agreed
  end
  if secured then
    ctx:own(secured)
    context, err = self:context(name)
  end
  if not context then
    return nil, err
  end

  local ok
  ok, err = stream:unread(hello.bytes)
  if not ok then
    return nil, err
  end
  local inner
  inner, err = native.server(stream, context, deadline)
  if not inner then
    return nil, err:during "intercepted TLS"
  end
  ctx.stream = ctx:own(inner)

  local host = ctx.sniffed.host and ctx.sniffed.host .. ":443"
  local plain
  if agreed == "h2" then
    plain, err = encrypter(self, ctx, hello, name, true)
    if not plain then
      return nil, err
    end
  end
  local inside = tunnel.to(ctx, secured, dialer(way, encrypt, host), plain and dialer(way, plain, host))
  inside.prepare = way.inside and way:inside()
  local looking = setmetatable({ mitm = false }, { __index = engine })
  local info = native.info(inner) or {}
  if ctx.service and record.wanted(ctx) then
    inside.tls = hello_object.ended(hello, info)
  end
  if info.alpn == "h2" then
    return require("tidegate.handler.sniffing.h2").serve(looking, ctx, inner, inside)
  end
  return require("tidegate.handler.sniffing").serve(looking, ctx, inner, inside)
end

return M
