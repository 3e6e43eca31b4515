-- The connection to a target that was chosen.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local load = require "tidegate.chain.load"
local proxy_protocol = require "tidegate.net.proxy_protocol"

local NO_PORT = { unix = true, serial = true }

--- Connect to a target, or where the client wants to go if the target has no address.
-- @param handler with proxy_version: the version of the PROXY header to begin with, or nil
-- @param options { network = of targets that do not say it (unix and serial: of all), port = of addresses
--   without one, host = "host:port" of the client's, or nil; address = instead of the node's, or nil;
--   shared = the connection is not this client's alone: not it counts as the node's load, but each request }
-- @return stream | nil, err
return function(handler, ctx, node, options)
  local network, address = node.network or options.network, options.address or node.addr
  if NO_PORT[options.network] then
    network = options.network
  end
  ctx.node = node.name
  ctx.own_target = address ~= ""
  if address == "" and options.host then
    network, address = "tcp", options.host
  elseif address == "" then
    return nil, failure.new("config", "the target has no address, and the client names none")
  elseif not NO_PORT[network] and not node.port then
    address = addr.with_port(address, options.port)
  end
  local upstream, err = ctx:connect(network, address)
  if not upstream then
    node.mark:fail()
    return nil, node:blame(err)
  end
  node.mark:ok()
  if not options.shared then
    load.settle(ctx, node, upstream)
  end
  if handler.proxy_version then
    local ok
    ok, err = proxy_protocol.send(ctx, upstream, handler.proxy_version)
    if not ok then
      return nil, err:during "PROXY header"
    end
  end
  return upstream
end
