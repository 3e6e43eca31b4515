-- Datagrams over the relay protocol: u16 frames for one destination, UDP-TUN frames for a port of ours.

local address = require "tidegate.native.address"
local load = require "tidegate.chain.load"
local message = require "tidegate.native.relay_message"
local missing = require "tidegate.handler.forward.missing"
local refused = require "tidegate.net.refuse"
local udp = require "tidegate.net.udp"

local OK, FORBIDDEN, UNAVAILABLE, HOST_UNREACHABLE, NETWORK_UNREACHABLE = 0, 3, 5, 6, 7

local M = {}

local function refuse(stream, status, err)
  return refused(stream, message.encode_response { status = status }, err)
end

local function serve(ctx, stream, response, options)
  local ok, err = stream:write(message.encode_response(response))
  if not ok then
    return nil, err:during "response"
  end
  return udp.serve_tunnel(ctx, stream, options)
end

--- CONNECT: datagrams to one destination and back.
function M.connect(_, ctx, stream, target)
  local upstream, err = ctx:packets("udp", target)
  if not upstream then
    return refuse(stream, err.code == "blocked" and FORBIDDEN or NETWORK_UNREACHABLE, err)
  end
  return serve(ctx, stream, { status = OK }, { mode = "u16", address = target, upstream = upstream })
end

--- Forward mode: datagrams to one of the service's targets.
function M.forward(self, ctx, stream)
  local node, problem = self.service.forwarder:select(ctx, "udp", "")
  if not node then
    return refuse(stream, UNAVAILABLE, missing(self, problem))
  end
  ctx.own_target = true
  local upstream, err = ctx:packets("udp", node.addr)
  if not upstream then
    node.mark:fail()
    return refuse(stream, HOST_UNREACHABLE, node:blame(err))
  end
  node.mark:ok()
  load.settle(ctx, node, upstream)
  return serve(ctx, stream, { status = OK }, { mode = "u16", address = node.addr, upstream = upstream })
end

--- BIND: datagrams of everybody who sends to a port of ours.
function M.bind(_, ctx, stream, where)
  local upstream, err = udp.bind(ctx, where)
  if not upstream then
    return refuse(stream, UNAVAILABLE, err) -- gost closes without a word, and its user seeks the cause elsewhere
  end
  ctx:own(upstream)
  local host, port = address.split(upstream:local_address() or where)
  return serve(ctx, stream, { status = OK, host = host, port = port }, { upstream = upstream })
end

return M
