-- SOCKS5 BIND and gost's MBIND.

local acceptors = require "tidegate.net.acceptor"
local address = require "tidegate.native.address"
local failure = require "tidegate.failure"
local mux_peers = require "tidegate.net.mux_peers"
local mux_schema = require "tidegate.net.mux_schema"
local refused = require "tidegate.net.refuse"
local socks = require "tidegate.native.socks"
local task = require "tidegate.native.task"

local MBIND = 0xf2
local OK, FAILED, NOT_ALLOWED = 0, 1, 2

local function reply_with(text)
  local host, port = address.split(text, 0)
  return socks.encode_reply5(OK, host or "", host and port or 0)
end

local function refuse(stream, status, err)
  return refused(stream, socks.encode_reply5(status), err)
end

-- What the client is to tell its peer: our address as it sees it, unless that is a path, and the port.
local function advertised(self, stream, acceptor)
  local bound, port = address.split(acceptor:address() or "", 0)
  local host = self.md["socks.publicAddr"]
  if not host or host == "" then
    host = address.split(stream:local_address() or "", 0)
    host = host and address.kind(host) ~= "name" and host or bound
  else
    host = address.split(host, 0) or host
  end
  return socks.encode_reply5(OK, host or "", tonumber(port) or 0)
end

-- Wait for the first peer, as long as the client stays.
local function await_peer(ctx, stream, acceptor)
  local peer
  local arrived = task.waiter()
  local ok, err = acceptor:start(function(found)
    if peer then
      found:close()
      return
    end
    peer = ctx:own(found)
    arrived:wake(true)
    stream:interrupt()
  end)
  if not ok then
    return nil, err
  end
  if not peer then
    local early
    early, err = stream:peek(1)
    if not early and err.code ~= "canceled" then
      return nil, err
    end
  end
  arrived:wait()
  return peer
end

local function bind(ctx, stream, acceptor)
  local peer, err = await_peer(ctx, stream, acceptor)
  acceptor:close()
  if not peer then
    return refuse(stream, FAILED, err:during "bind")
  end
  local ok
  ok, err = stream:write(reply_with(peer:remote_address() or ""))
  if not ok then
    return nil, err:during "reply"
  end
  return ctx:relay(stream, peer)
end

return function(self, ctx, stream, host, port, command)
  if not self.md.bind then
    return refuse(stream, NOT_ALLOWED, failure.new("blocked", "BIND is not enabled"))
  end
  local where = address.join(host, port)
  ctx.network, ctx.target = "tcp", where
  local acceptor, err = acceptors.listen(where)
  if not acceptor then
    return refuse(stream, FAILED, err)
  end
  ctx:own(acceptor)
  local ok
  ok, err = stream:write(advertised(self, stream, acceptor))
  if not ok then
    return nil, err:during "reply"
  end
  if command ~= MBIND then
    return bind(ctx, stream, acceptor)
  end
  return mux_peers.serve(ctx, stream, acceptor, mux_schema.options(self.md, true), function(peer)
    return not self.md.comp and reply_with(peer) or nil
  end)
end
