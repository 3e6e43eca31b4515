-- Client of gost's relay protocol.
--
-- The request goes out at once and payload may follow it before the server has answered: the answer
-- is taken off in C when the first bytes from the server are read.  With `nodelay` we wait for it.

local address = require "tidegate.native.address"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local lazy_reply = require "tidegate.native.lazy_reply"
local message = require "tidegate.native.relay_message"
local mux_peers = require "tidegate.net.mux_peers"
local mux_schema = require "tidegate.net.mux_schema"
local udp = require "tidegate.net.udp"
local udp_peers = require "tidegate.net.udp_peers"

local CONNECT, BIND = 1, 2

local CARRIED = { tcp = true, udp = true, unix = true, serial = true }

local REFUSALS = {
  { "protocol", "bad request" },
  { "auth", "unauthorized: user or password are wrong" },
  { "blocked", "forbidden" },
  { "timeout", "timeout" },
  { "refused", "service unavailable" },
  { "unreachable", "host unreachable" },
  { "unreachable", "network unreachable" },
  { "protocol", "internal server error" },
}

-- The smaller of the caller's deadline and our own timeout.
local function limit(self, ctx, deadline)
  local own = ctx:after(self.md.connectTimeout)
  return own and deadline and math.min(own, deadline) or own or deadline
end

local function refusal(status)
  local known = REFUSALS[status]
  if known then
    return failure.new(known[1], "the server answers: " .. known[2])
  end
  return failure.new("protocol", ("relay status %d"):format(status))
end

-- host and port of a target; what has no port is all host.
local function split(network, target)
  if network == "unix" or network == "serial" then
    return target, 0
  elseif target == "" then
    return nil
  end
  return address.split(target)
end

local function send(self, stream, command, network, host, port)
  local auth = self.auth
  local bytes, err = message.encode_request {
    cmd = command,
    udp = network == "udp",
    network = network,
    user = auth and auth.username,
    pass = auth and auth.password,
    host = host,
    port = port,
  }
  if not bytes then
    return nil, err
  end
  local ok
  ok, err = stream:write(bytes)
  return ok, err and err:during "relay request"
end

-- Wait for a response.  @return host | "", port | nil, err
local function receive(stream)
  local response, err = stream:receive(message.response)
  if not response then
    return nil, err:during "relay response"
  elseif response.status ~= 0 then
    return nil, refusal(response.status)
  end
  local first = response.addresses and response.addresses[1] or response
  return first.host or "", first.port or 0
end

--- Ask for a target.  @return stream that begins with the target's bytes | nil, err
local function request(self, ctx, stream, network, target, deadline)
  local host, port = split(network, target)
  if not host then
    return nil, port or failure.new("invalid", "an address is needed")
  end
  stream:set_deadline(limit(self, ctx, deadline))
  local ok, err = send(self, stream, CONNECT, network ~= "tcp" and network or nil, host, port)
  if not ok then
    return nil, err
  end
  if not self.md.nodelay then
    stream:set_deadline(nil)
    ctx.unanswered = true
    return lazy_reply.relay(stream)
  end
  ok, err = receive(stream)
  if not ok then
    return nil, err
  end
  stream:set_deadline(nil)
  return stream
end

local function connect(self, ctx, stream, network, target, deadline)
  if not CARRIED[network] then
    return nil, failure.new("unsupported", "relay does not carry " .. network)
  end
  return request(self, ctx, stream, network, target, deadline)
end

-- @return host, port of the server's end of a BIND | nil, err
local function bind_request(self, ctx, stream, network, host, port, deadline)
  stream:set_deadline(limit(self, ctx, deadline))
  local ok, err = send(self, stream, BIND, network, host, port)
  if not ok then
    return nil, err
  end
  local bound_host, bound_port = receive(stream)
  if bound_host then
    stream:set_deadline(nil)
  end
  return bound_host, bound_port
end

--- Datagrams: to one destination, or with the address "" by BIND to any.
local function packets(self, ctx, stream, _, target, deadline)
  if target ~= "" then
    local top, err = request(self, ctx, stream, "udp", target, deadline)
    if not top then
      return nil, err
    end
    return udp.u16(top, target)
  end
  local bound, err = bind_request(self, ctx, stream, "udp", "0.0.0.0", 0, deadline)
  if not bound then
    return nil, err
  end
  return udp.tunnel(stream, "")
end

local function read_peer(stream)
  local host, port = receive(stream)
  return host and address.join(host, port), port
end

-- The datagrams of everybody come in one stream of frames.
local function split_datagrams(stream, bound, options)
  local endpoint, err = udp.tunnel(stream, "")
  if not endpoint then
    return nil, err
  end
  return udp_peers.split(endpoint, bound, options)
end

--- Have the server listen for us.
-- @param options for udp: what tidegate.native.packet.split takes
-- @return acceptor: accept([deadline]) → stream (udp: endpoint), peer | nil, err; address(); close() | nil, err
local function bind(self, ctx, stream, network, target, deadline, options)
  local host, port = split(network, target)
  if not host then
    return nil, port or failure.new("invalid", "an address is needed")
  end
  if host == "" then
    host = "0.0.0.0"
  end
  local bound_host, bound_port = bind_request(self, ctx, stream, network, host, port, deadline)
  if not bound_host then
    return nil, bound_port
  end
  local bound = network == "unix" and bound_host or address.join(bound_host, bound_port)
  if network == "udp" then
    return split_datagrams(stream, bound, options)
  end
  return mux_peers.new(stream, bound, mux_schema.options(self.md, false), read_peer)
end

return component.connector "relay" {
  doc = "client of gost's relay protocol",
  metadata = mux_schema.with {
    connectTimeout = { type = "duration", default = 0, doc = "limit on the request; 0: none" },
    nodelay = { type = "bool", default = false, doc = "wait for the server's response" },
  },
  connect = connect,
  packets = packets,
  bind = bind,
}
