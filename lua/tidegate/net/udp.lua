-- Datagrams: endpoints of every kind, and the UDP halves of the proxy protocols.
--
-- An endpoint (tidegate.native.packet) has recv() → bytes, address; send(bytes, address); close().
--
-- For handlers, after their request was read:
--   M.serve_socks5(ctx, stream, options, reply)   UDP ASSOCIATE; reply("ip:port") writes the answer
--   M.serve_tunnel(ctx, stream, options)          UDP-TUN or u16 frames on the stream
--   M.bind(ctx, address)                          an endpoint on a port of ours, for UDP BIND
-- For connectors, over a stream on which the proxy has agreed:
--   M.tunnel(stream, address)                     UDP-TUN frames; address "" = any destination
--   M.u16(stream, address)                        u16 frames, one destination
--   M.socks5_client(ctx, stream, reply, address, options)   UDP ASSOCIATE
-- Each of them returns what its caller returns: true or an endpoint, or nil, err.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local packet = require "tidegate.native.packet"

local M = {}

local REMEMBERED = 1024

-- Required when a name comes along: it needs this module itself.
local function router()
  return require "tidegate.chain.router"
end

-- @return "ip:port" | nil, err
local function resolve(ctx, address, deadline)
  local where, err = router().resolve(ctx, address, deadline)
  if not where then
    return nil, err
  end
  return addr.first_v4(where)
end

--- A socket of ours: connected to `address`, or with "" one that talks to anybody.
-- @param sockets outgoing sockets of a service or node (tidegate.chain.sockets), or nil
function M.open(ctx, address, sockets, deadline)
  local options = sockets and sockets:options(ctx) or nil
  if address == "" then
    return packet.udp { options = options }
  end
  local where, err = resolve(ctx, address, deadline)
  if not where then
    return nil, err
  end
  return packet.udp { connect = where, options = options }
end

--- What ctx:packets("udp", "") is without a chain.
function M.associate(ctx)
  return M.open(ctx, "", ctx.service.sockets)
end

--- An endpoint on a port of ours ("host:port"; a missing host means all addresses, of both families).
function M.bind(ctx, address)
  local host, port = addr.split(address)
  if not port then
    return nil, failure.new("invalid", "the address has no valid port", { op = "bind", addr = address })
  elseif host == "" then
    local both = packet.udp { at = addr.join("::", port) }
    if both then
      return both
    end
    host = "0.0.0.0"
  end
  local where, err = resolve(ctx, addr.join(host, port), ctx:after(10))
  if not where then
    return nil, err
  end
  return packet.udp { at = where }
end

-- Relaying ---------------------------------------------------------------------------------------

-- Decides about addresses inside of an association: what hooks and policies say, and where names are.
local function decider(ctx, names_pass, asks_all)
  local timeout = ctx.service.dial_timeout
  local good, count = {}, 0 -- addresses of names that were allowed: their answers may come back
  local function remember(where)
    if asks_all and where then
      count = count + 1
      if count > REMEMBERED then
        good, count = {}, 1
      end
      good[where] = true
    end
    return where
  end
  return function(address, asker)
    local target = address
    if asks_all and not good[address] then
      ctx.network, ctx.target = "udp", address
      local ok, refused = ctx.stages.request(ctx, "udp", address)
      if not ok then
        ctx.log:debug(("udp: %s: %s"):format(address, tostring(refused or "refused")))
        return asker:answer(address, nil)
      end
      target = ctx.target or address
    end
    if addr.is_ip(addr.host(target)) then
      remember(target ~= address and target or nil)
      return asker:answer(address, target == address or target)
    end
    local where, err = target, nil
    if names_pass then
      where, err = router().target(ctx, "udp", target, ctx:after(timeout))
      if where == address then
        return asker:answer(address, true)
      end
    end
    if where == target then
      where, err = resolve(ctx, target, ctx:after(timeout))
    end
    if not where then
      ctx.log:debug(("udp: %s: %s"):format(address, tostring(err)))
    end
    asker:answer(address, remember(where))
  end
end

-- Options with somebody to ask, where datagrams carry addresses.
local function with_decider(ctx, b, options)
  options = options or {}
  if options.ask or not b:any_peer() then
    return options
  end
  local asks_all = ctx.stages.hooked.request or ctx.service.bypass ~= nil
  local names_pass = b:takes_names() and not options.ask_names
  return setmetatable({
    ask = decider(ctx, names_pass, asks_all),
    ask_all = asks_all,
  }, { __index = options })
end

--- Join two endpoints; of ctx:relay_packets().
-- @param options nil or { idle = ms, replies = n, up, down = counters, up_limit, down_limit = buckets }
function M.relay(ctx, a, b, options, tag)
  return packet.relay(a, b, with_decider(ctx, b, options), tag)
end

local function request(ctx, address)
  ctx.network = "udp"
  ctx.target = rawget(ctx, "target") or address
end

-- Servers ----------------------------------------------------------------------------------------

--- Serve datagrams framed on a stream.
-- @param options { mode = "udptun" (default) or "u16", address = the one destination (u16),
--   upstream = an endpoint instead of ctx:packets(), resolve = look names up here, idle = ms }
function M.serve_tunnel(ctx, stream, options)
  options = options or {}
  local address = options.address or ""
  local upstream, err = options.upstream, nil
  if not upstream then
    upstream, err = ctx:packets("udp", address)
    if not upstream then
      return nil, err
    end
  else
    ctx:own(upstream)
  end
  request(ctx, address)
  local tunnel
  tunnel, err = packet.over_stream(stream, options.mode or "udptun", address ~= "" and address or nil)
  if not tunnel then
    return nil, err
  end
  return ctx:relay_packets(ctx:own(tunnel), upstream, { idle = options.idle, ask_names = options.resolve })
end

local function ip_of(address)
  local host = address and addr.host(address)
  return host and addr.is_ip(host) and host or nil
end

--- Serve UDP ASSOCIATE.
-- @param stream the control connection
-- @param options { buffer_size, public_addr, min_port, max_port, resolve = look names up here }
-- @param reply function("ip:port") → true | nil, err: writes the answer
-- @return true | nil, err; nothing was answered when reply() was not called
function M.serve_socks5(ctx, stream, options, reply)
  options = options or {}
  local upstream, err = ctx:packets("udp", "")
  if not upstream then
    return nil, err
  end
  request(ctx, "")
  local own = ip_of(stream:local_address()) or "127.0.0.1"
  local server
  server, err = packet.socks5_server {
    at = addr.join(own, 0),
    client = ip_of(stream:remote_address()) and stream:remote_address() or nil,
    limit = options.buffer_size,
    min_port = options.min_port,
    max_port = options.max_port,
  }
  if not server then
    return nil, err
  end
  ctx:own(server)

  local _, port = addr.split(server:local_address())
  local public = options.public_addr
  local ok
  ok, err = reply(addr.join(public and addr.is_ip(public) and public or own, port))
  if not ok then
    return nil, err
  end
  stream:set_deadline(nil)
  ok, err = packet.attach(server, stream)
  if not ok then
    return nil, err
  end
  return ctx:relay_packets(server, upstream, { ask_names = options.resolve })
end

-- Clients ----------------------------------------------------------------------------------------

--- UDP-TUN frames on a stream; it is the endpoint's from now on.
function M.tunnel(stream, address)
  return packet.over_stream(stream, "udptun", address ~= "" and address or nil)
end

--- u16 frames on a stream, all to one destination.
function M.u16(stream, address)
  return packet.over_stream(stream, "u16", address ~= "" and address or nil)
end

--- The client's side of UDP ASSOCIATE.
-- @param stream the control connection, the endpoint's from now on
-- @param reply "host:port" of the proxy's answer; no host means the proxy's own
-- @param address the one destination, or "" for any
-- @param options nil or { buffer_size, sockets = of the node }
function M.socks5_client(ctx, stream, reply, address, options)
  options = options or {}
  local host, port = addr.split(reply)
  if host == "" or host == "0.0.0.0" or host == "::" then
    host = ip_of(stream:remote_address()) or "127.0.0.1"
  end
  local where, err = resolve(ctx, addr.join(host, port or 0), ctx:after(ctx.service.dial_timeout))
  if not where then
    return nil, err
  end
  local endpoint
  endpoint, err = packet.socks5_client {
    to = where,
    fixed = address ~= "" and address or nil,
    limit = options.buffer_size,
    options = options.sockets and options.sockets:options(ctx) or nil,
  }
  if not endpoint then
    return nil, err
  end
  local ok
  ok, err = packet.attach(endpoint, stream)
  if not ok then
    endpoint:close()
    return nil, err
  end
  return endpoint
end

return M
