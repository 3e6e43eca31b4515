-- SOCKS5 server: RFC 1928, RFC 1929, and gost's methods (TLS) and commands (MBIND, UDP-TUN).

local address = require "tidegate.native.address"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local refuse = require "tidegate.net.refuse"
local sniffing = require "tidegate.handler.sniffing"
local socks = require "tidegate.native.socks"
local socks5 = require "tidegate.net.socks5"

local address_join = address.join
local address_split = address.split
local encode_reply = socks.encode_reply5
local string_find = string.find

local GREETING, AUTH, REQUEST = socks.greeting5, socks.auth, socks.request5

local NO_AUTH, USER_PASS, TLS, TLS_AUTH = "\0", "\2", "\128", "\130"
local CHOSEN = {
  [NO_AUTH] = "\5\0",
  [USER_PASS] = "\5\2",
  [TLS] = "\5\128",
  [TLS_AUTH] = "\5\130",
}
local NO_METHOD = "\5\255"
local AUTH_OK, AUTH_FAILED = "\1\0", "\1\1"

local CONNECT = 0x01
local OK, NOT_ALLOWED, UNREACHABLE, BAD_COMMAND = 0, 2, 3, 7
local REFUSED = {
  [NOT_ALLOWED] = encode_reply(NOT_ALLOWED),
  [UNREACHABLE] = encode_reply(UNREACHABLE),
  [BAD_COMMAND] = encode_reply(BAD_COMMAND),
}

-- Commands other than CONNECT, loaded when first used.
local COMMANDS = {
  [0x02] = "tidegate.handler.socks5.bind",
  [0x03] = "tidegate.handler.socks5.udp",
  [0xf0] = "tidegate.handler.socks5.resolve",
  [0xf1] = "tidegate.handler.socks5.resolve",
  [0xf2] = "tidegate.handler.socks5.bind",
  [0xf3] = "tidegate.handler.socks5.udp",
}

-- The best method both sides know, or nil.  Like gost we would rather have TLS.
local function choose(offered, needs_auth, allow_tls)
  local inside, plain = TLS, NO_AUTH
  if needs_auth then
    inside, plain = TLS_AUTH, USER_PASS
  end
  if allow_tls and string_find(offered, inside, 1, true) then
    return inside
  end
  return string_find(offered, plain, 1, true) and plain
end

local function open(self)
  if self.tls and self.tls.certFile and self.tls.certFile ~= "" then
    local context, err = socks5.server_context(self)
    if not context then
      return nil, err
    end
  end
  return sniffing.open(self)
end

local function check_password(ctx, stream)
  local user, pass = stream:receive(AUTH)
  if not user then
    return nil, pass
  end
  local ok, err = ctx:authenticate(user, pass)
  if not ok then
    return refuse(stream, AUTH_FAILED, err)
  end
  return stream:write(AUTH_OK)
end

-- Agree on a method and go through with it.  @return the stream to go on with | nil, err
local function greet(self, ctx, stream, deadline)
  local offered, err = stream:receive(GREETING)
  if not offered then
    return nil, err
  end
  local needs_auth = ctx:needs_auth()
  local method = choose(offered, needs_auth, not self.md.notls)
  if not method then
    return refuse(stream, NO_METHOD, failure.new("auth",
      needs_auth and "the client offers no user and password" or "no method in common"))
  end

  local ok
  ok, err = stream:write(CHOSEN[method])
  if not ok then
    return nil, err
  end
  if method == TLS or method == TLS_AUTH then
    stream, err = socks5.accept_tls(self, stream, deadline)
    if not stream then
      return nil, err
    end
    ctx:own(stream):set_deadline(deadline)
  end
  if needs_auth then
    ok, err = check_password(ctx, stream)
    if not ok then
      return nil, err
    end
  end
  return stream
end

local function connect(self, ctx, stream, host, port)
  local upstream, err = ctx:connect("tcp", address_join(host, port))
  if not upstream then
    return refuse(stream, REFUSED[err.code == "blocked" and NOT_ALLOWED or UNREACHABLE], err)
  end

  local bound_host, bound_port = address_split(upstream:local_address() or "", 0)
  local ok
  ok, err = stream:write(encode_reply(OK, bound_host or "", bound_host and bound_port or 0))
  if not ok then
    return nil, err:during "reply"
  end
  return sniffing.join(self, ctx, stream, upstream)
end

local function handle(self, ctx, stream)
  local deadline = ctx:after(self.md.readTimeout)
  stream:set_deadline(deadline)
  local err
  stream, err = greet(self, ctx, stream, deadline)
  if not stream then
    return nil, err:during "greeting"
  end

  local command, host, port = stream:receive(REQUEST)
  if not command then
    return nil, host:during "request"
  end
  stream:set_deadline(nil)

  if command == CONNECT then
    return connect(self, ctx, stream, host, port)
  elseif COMMANDS[command] then
    return require(COMMANDS[command])(self, ctx, stream, host, port, command)
  end
  return refuse(stream, REFUSED[BAD_COMMAND], failure.new("unsupported", ("SOCKS5 command %d"):format(command)))
end

return component.handler "socks5" {
  doc = "SOCKS5 proxy server",
  aliases = { "socks" },
  metadata = socks5.with(sniffing.with {
    readTimeout = { type = "duration", default = 15, min = 0, doc = "limit on the handshake" },
    notls = { type = "bool", default = false, doc = "do not accept gost's TLS methods" },
    bind = { type = "bool", default = false, doc = "allow BIND, MBIND and UDP-TUN with a port" },
    comp = {
      type = "bool",
      default = false,
      doc = "GOST v2 form of MBIND: no reply in front of each peer's bytes",
    },
    ["socks.publicAddr"] = {
      type = "string",
      aliases = { "publicAddr" },
      doc = "address told in replies to BIND and UDP ASSOCIATE (for UDP an IP)",
    },
    udp = { type = "bool", default = false, doc = "allow UDP ASSOCIATE and UDP-TUN" },
    ["udp.resolveDomain"] = {
      type = "bool",
      aliases = { "udpResolveDomain" },
      default = false,
      doc = "resolve names in datagrams here",
    },
    ["udp.bindRange.min"] = {
      type = "int",
      aliases = { "udp.minPort" },
      default = 0,
      doc = "first port of UDP relays; 0: any",
    },
    ["udp.bindRange.max"] = {
      type = "int",
      aliases = { "udp.maxPort" },
      default = 0,
      doc = "last port of UDP relays; 0: any",
    },
    hash = { type = "string", doc = "`host`: selectors hash the target, not the client's address" },
    tor = {
      type = "bool",
      aliases = { "enableTor", "socks5.tor" },
      default = false,
      doc = "allow Tor's RESOLVE and RESOLVE_PTR",
    },
  }),
  open = open,
  handle = handle,
}
