-- SOCKS5 client, with gost's TLS methods.

local address = require "tidegate.native.address"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local mux_peers = require "tidegate.net.mux_peers"
local schema = require "tidegate.net.mux_schema"
local socks = require "tidegate.native.socks"
local socks5 = require "tidegate.net.socks5"
local udp = require "tidegate.net.udp"
local udp_peers = require "tidegate.net.udp_peers"

local NO_AUTH, USER_PASS, TLS, TLS_AUTH = 0x00, 0x02, 0x80, 0x82
local CONNECT, BIND, ASSOCIATE, MBIND, UDP_TUN = 0x01, 0x02, 0x03, 0xf2, 0xf3

-- The smaller of the caller's deadline and our own timeout.
local function limit(self, ctx, deadline)
  local own = ctx:after(self.md.timeout)
  return own and deadline and math.min(own, deadline) or own or deadline
end

local function open(self)
  local methods = self.auth and { NO_AUTH, USER_PASS } or { NO_AUTH }
  if not self.md.notls then
    methods[#methods + 1] = TLS
    methods[#methods + 1] = self.auth and TLS_AUTH or nil
  end
  self.offered = string.char(unpack(methods))
  local err
  self.greeting, err = socks.encode_greeting5(self.offered)
  if not self.greeting then
    return nil, err
  end
  if self.tls and self.tls.caFile and self.tls.caFile ~= "" then
    self.tls_context, err = require("tidegate.tls").client(self.tls)
    if not self.tls_context then
      return nil, err
    end
  end
  if self.auth then
    self.credentials, err = socks.encode_auth(self.auth.username, self.auth.password)
    if not self.credentials then
      return nil, err
    end
  end
  return true
end

local function authenticate(self, stream)
  local ok, err = stream:write(self.credentials)
  if not ok then
    return nil, err
  end
  local status
  status, err = stream:receive(socks.auth_reply)
  if not status then
    return nil, err
  elseif status ~= 0 then
    return nil, failure.new("auth", "the server rejects user or password")
  end
  return true
end

-- Go through with the method the server chose.  @return the stream to go on with | nil, err
local function follow(self, stream, method, deadline)
  local err
  if method == 0xff then
    return nil, failure.new("auth", self.auth and "the server accepts none of our methods"
      or "the server accepts none of our methods; it may want a user and password")
  elseif not self.offered:find(string.char(method), 1, true) then
    return nil, failure.new("protocol", ("the server chose method %d, never offered"):format(method))
  end
  if method == TLS or method == TLS_AUTH then
    stream, err = socks5.start_tls(self, stream, deadline)
    if not stream then
      return nil, err
    end
    stream:set_deadline(deadline)
  end
  if method == USER_PASS or method == TLS_AUTH then
    local ok
    ok, err = authenticate(self, stream)
    if not ok then
      stream:close() -- which may be one inside TLS, that our caller does not know
      return nil, err
    end
  end
  return stream
end

-- Greeting and authentication.  @return the stream to go on with | nil, err
local function handshake(self, ctx, stream, _, deadline)
  deadline = limit(self, ctx, deadline)
  stream:set_deadline(deadline)
  local ok, err = stream:write(self.greeting)
  if not ok then
    return nil, err:during "socks5 greeting"
  end
  local method
  method, err = stream:receive(socks.method_reply)
  if not method then
    return nil, err:during "socks5 greeting"
  end
  stream, err = follow(self, stream, method, deadline)
  if not stream then
    return nil, err:during "socks5 greeting"
  end
  stream:set_deadline(nil)
  return stream
end

-- What every request needs first.  @return host, port | nil, err
local function begin(self, ctx, stream, target, deadline)
  stream:set_deadline(limit(self, ctx, deadline))
  return address.split(target)
end

local function connect(self, ctx, stream, network, target, deadline)
  if network ~= "tcp" then
    return nil, failure.new("unsupported", "SOCKS5 connects to TCP only, not " .. network)
  end
  local host, port = begin(self, ctx, stream, target, deadline)
  if not host then
    return nil, port
  end
  local command = target == ctx.target and ctx.socks_command or CONNECT
  local bound, bound_port = socks5.request(stream, command, host == "" and "127.0.0.1" or host, port)
  if not bound then
    return nil, bound_port
  end
  if command ~= CONNECT then
    ctx.socks_answer = address.join(bound, bound_port)
  end
  stream:set_deadline(nil)
  return stream
end

-- The address of a reply; a server that names no host means itself.
local function reply_address(host, port)
  return host and address.join(host, port), port
end

--- Datagrams: UDP ASSOCIATE with the metadata `relay: udp`, else UDP-TUN.
local function packets(self, ctx, stream, _, target, deadline)
  local native = self.md.relay == "udp"
  stream:set_deadline(limit(self, ctx, deadline))
  local bound, err = reply_address(socks5.request(stream, native and ASSOCIATE or UDP_TUN, "0.0.0.0", 0))
  if not bound then
    return nil, err
  end
  stream:set_deadline(nil)
  if not native then
    return udp.tunnel(stream, target)
  end
  return udp.socks5_client(ctx, stream, bound, target, {
    buffer_size = self.md["udp.bufferSize"],
    sockets = self.node and self.node.sockets,
  })
end

local function bind_plain(stream, bound)
  local done
  return {
    address = function() return bound end,
    accept = function(_, until_ms)
      if done then
        return nil, failure.new("closed", "BIND brings one peer")
      end
      stream:set_deadline(until_ms)
      local peer, err = reply_address(socks5.reply(stream))
      if not peer then
        return nil, err
      end
      done = true
      stream:set_deadline(nil)
      return stream, peer
    end,
    close = function()
      if not done then
        stream:close()
      end
    end,
  }
end

-- UDP-TUN with a port: the datagrams of everybody who sends to it.
local function bind_udp(self, ctx, stream, target, deadline, options)
  local host, port = begin(self, ctx, stream, target, deadline)
  if not host then
    return nil, port
  elseif port == 0 then
    return nil, failure.new("config", "a SOCKS5 server opens only a UDP port that is named: write one instead of 0")
  end
  local bound, err = reply_address(socks5.request(stream, UDP_TUN, host == "" and "0.0.0.0" or host, port))
  if not bound then
    return nil, err
  end
  stream:set_deadline(nil)
  local endpoint
  endpoint, err = udp.tunnel(stream, "")
  if not endpoint then
    return nil, err
  end
  return udp_peers.split(endpoint, bound, options)
end

--- Have the server listen for us.
-- @param network "tcp", "udp", or "tcp/1" for plain BIND, which brings a single peer
-- @param options for udp: what tidegate.native.packet.split takes
-- @return acceptor: accept([deadline]) → stream (udp: endpoint), peer | nil, err; address(); close() | nil, err
local function bind(self, ctx, stream, network, target, deadline, options)
  if network == "udp" then
    return bind_udp(self, ctx, stream, target, deadline, options)
  end
  local plain = network == "tcp/1"
  if not plain and network ~= "tcp" then
    return nil, failure.new("unsupported", "SOCKS5 binds TCP and UDP ports only, not " .. network)
  end
  local host, port = begin(self, ctx, stream, target, deadline)
  if not host then
    return nil, port
  end
  local bound, err = reply_address(socks5.request(stream, plain and BIND or MBIND, host, port))
  if not bound then
    return nil, err
  end
  stream:set_deadline(nil)
  if plain then
    return bind_plain(stream, bound)
  end
  return mux_peers.new(stream, bound, schema.options(self.md, false), function(peer_stream)
    return reply_address(socks5.reply(peer_stream))
  end)
end

return component.connector "socks5" {
  doc = "SOCKS5 proxy client",
  aliases = { "socks" },
  metadata = socks5.with {
    timeout = { type = "duration", default = 0, doc = "limit on each step of the handshake; 0: none" },
    notls = { type = "bool", default = false, doc = "do not offer gost's TLS methods" },
    relay = {
      type = "string",
      doc = "`udp`: UDP ASSOCIATE; otherwise datagrams go through the TCP connection",
    },
    ["udp.timeout"] = {
      type = "duration",
      default = 0,
      doc = "known to gost; no effect: a UDP association ends with the client's session",
    },
  },
  open = open,
  handshake = handshake,
  connect = connect,
  packets = packets,
  bind = bind,
}
