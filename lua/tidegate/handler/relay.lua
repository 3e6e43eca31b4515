-- Server of gost's relay protocol: CONNECT, BIND, datagrams, and forwarding to fixed targets.

local address = require "tidegate.native.address"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local forward = require "tidegate.handler.forward.stream"
local message = require "tidegate.native.relay_message"
local mux_schema = require "tidegate.net.mux_schema"
local opener = require "tidegate.native.opener"
local refused = require "tidegate.net.refuse"
local sniffing = require "tidegate.handler.sniffing"

local address_join = address.join

local REQUEST = message.request
local CONNECT, BIND = 1, 2
local OK = "\1\0\0\0"
local LEFT = { reset = true, closed = true, eof = true }
local BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, UNAVAILABLE, HOST_UNREACHABLE, NETWORK_UNREACHABLE =
  1, 2, 3, 5, 6, 7

local function refuse(stream, status, err)
  return refused(stream, message.encode_response { status = status }, err)
end

-- The whole text for sockets that have no port.
local function target_text(network, host, port)
  if network == "unix" or network == "serial" then
    return host
  end
  return address_join(host, port)
end

-- Clients that do not wait for the response send payload behind the request, and gost's close at once when they have
-- sent all: what meets a closed socket makes the kernel throw away what is still under way to us.  To them it goes
-- out with the target's first bytes, as gost sends it; who waits for it gets it now.
local function respond(ctx, stream)
  local late, unsent = opener.late_reply(stream, OK)
  if unsent == nil then
    return late and ctx:own(late), unsent
  end
  local ok, err = stream:write(OK)
  if not ok and not LEFT[err.code] then
    return nil, err:during "response"
  end
  return stream -- what a client said before it left is for the target all the same
end

local function join(self, ctx, stream, upstream, network)
  local err
  stream, err = respond(ctx, stream)
  if not stream then
    return nil, err
  end
  if network == "tcp" then
    return sniffing.join(self, ctx, stream, upstream)
  end
  return ctx:relay(stream, upstream)
end

local function connect(self, ctx, stream, network, host, port)
  if not host then
    return refuse(stream, BAD_REQUEST, failure.new("protocol", "a request without an address"))
  end
  local target = target_text(network, host, port)
  if network == "udp" then
    return require("tidegate.handler.relay.udp").connect(self, ctx, stream, target)
  end
  local upstream, err = ctx:connect(network, target)
  if not upstream then
    return refuse(stream, err.code == "blocked" and FORBIDDEN or NETWORK_UNREACHABLE, err)
  end
  return join(self, ctx, stream, upstream, network)
end

-- Forward mode: what the client asks for does not matter, the service's targets do.
local function forward_to_target(self, ctx, stream, network)
  if network == "udp" then
    return require("tidegate.handler.relay.udp").forward(self, ctx, stream)
  end
  local upstream, err = forward.connect(self, ctx, network)
  if not upstream then
    return refuse(stream, err.code == "config" and UNAVAILABLE or HOST_UNREACHABLE, err)
  end
  return join(self, ctx, stream, upstream)
end

local function handle(self, ctx, stream)
  stream:set_deadline(ctx:after(self.md.readTimeout))
  local request, err = stream:receive(REQUEST)
  if not request then
    return nil, err:during "request"
  end
  stream:set_deadline(nil)
  if ctx:needs_auth() then
    local ok, why = ctx:authenticate(request.user or "", request.pass or "")
    if not ok then
      return refuse(stream, UNAUTHORIZED, why)
    end
  end

  local command, network = request.cmd, request.udp and "udp" or request.network or "tcp"
  local service = self.service
  if service and service.forwarder then
    return forward_to_target(self, ctx, stream, network)
  elseif command <= CONNECT then
    return connect(self, ctx, stream, network, request.host, request.port)
  elseif command == BIND then
    return require("tidegate.handler.relay.bind")(self, ctx, stream, network, request.host, request.port)
  end
  return refuse(stream, BAD_REQUEST, failure.new("unsupported", ("relay command %d"):format(command)))
end

return component.handler "relay" {
  doc = "server of gost's relay protocol",
  metadata = mux_schema.with(sniffing.with {
    readTimeout = { type = "duration", default = 15, min = 0, doc = "limit on the request" },
    bind = { type = "bool", default = false, doc = "allow BIND" },
    nodelay = {
      type = "bool",
      default = false,
      doc = "kept for gost's configurations: who waits for the response gets it at once, others with the first bytes",
    },
    ["udp.bufferSize"] = {
      type = "int",
      aliases = { "udpBufferSize" },
      default = 4096,
      doc = "longest datagram",
    },
    hash = { type = "string", doc = "`host`: selectors hash the target, not the client's address" },
  }),
  open = sniffing.open,
  handle = handle,
}
