-- SOCKS5 UDP ASSOCIATE and gost's UDP-TUN (datagrams on the connection itself).

local address = require "tidegate.native.address"
local failure = require "tidegate.failure"
local refused = require "tidegate.net.refuse"
local socks = require "tidegate.native.socks"
local udp = require "tidegate.net.udp"

local ASSOCIATE = 0x03
local OK, FAILED, NOT_ALLOWED = 0, 1, 2

local function reply(stream, status, text)
  local host, port = address.split(text or "", 0)
  return stream:write(socks.encode_reply5(status, host or "", host and port or 0))
end

local function refuse(stream, status, err)
  return refused(stream, socks.encode_reply5(status, "", 0), err)
end

local function associate(self, ctx, stream)
  local answered
  local options = {
    buffer_size = self.md["udp.bufferSize"],
    public_addr = self.md["socks.publicAddr"],
    min_port = self.md["udp.bindRange.min"],
    max_port = self.md["udp.bindRange.max"],
    resolve = self.md["udp.resolveDomain"],
  }
  local ok, err = udp.serve_socks5(ctx, stream, options, function(where)
    answered = true
    return reply(stream, OK, where)
  end)
  if not ok and not answered then
    return refuse(stream, FAILED, err)
  end
  return ok, err
end

-- Datagrams to and from anywhere, through the service's chain.
local function tunnel(self, ctx, stream)
  local upstream, err = ctx:packets("udp", "")
  if not upstream then
    return nil, err
  end
  local ok
  ok, err = reply(stream, OK)
  if not ok then
    return nil, err:during "reply"
  end
  return udp.serve_tunnel(ctx, stream, {
    upstream = upstream,
    resolve = self.md["udp.resolveDomain"],
  })
end

-- Datagrams to and from a port of ours.
local function tunnel_bind(ctx, stream, where)
  local upstream, err = udp.bind(ctx, where)
  if not upstream then
    return refuse(stream, FAILED, err)
  end
  ctx:own(upstream)
  ctx.network, ctx.target = "udp", where
  local ok
  ok, err = reply(stream, OK, upstream:local_address())
  if not ok then
    return nil, err:during "reply"
  end
  return udp.serve_tunnel(ctx, stream, { upstream = upstream })
end

return function(self, ctx, stream, host, port, command)
  if command ~= ASSOCIATE and port ~= 0 then
    if not self.md.bind then
      return refuse(stream, NOT_ALLOWED, failure.new("blocked", "BIND is not enabled"))
    end
    return tunnel_bind(ctx, stream, address.join(host, port))
  elseif not self.md.udp then
    return refuse(stream, NOT_ALLOWED, failure.new("blocked", "UDP is not enabled"))
  elseif command == ASSOCIATE then
    return associate(self, ctx, stream)
  end
  return tunnel(self, ctx, stream)
end
