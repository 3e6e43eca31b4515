-- Packet endpoints: a UDP socket of ours, or what the last node of a chain offers.

local failure = require "tidegate.failure"
local router = require "tidegate.chain.router"

local M = {}

-- Loaded when the first datagram needs it.
local function udp()
  return require "tidegate.net.udp"
end

local function attempt(ctx, network, asked, deadline, try)
  local address, err = router.target(ctx, network, asked, deadline)
  if not address then
    return nil, err
  end
  local path
  path, err = router.choose(ctx, network, address, try)
  if not path then
    return nil, err
  elseif #path == 0 then
    return udp().open(ctx, address, ctx.service.sockets, deadline)
  end

  local last = path[#path]
  if not last.connector.packets then
    return nil, last:blame(failure.new("unsupported", "carries no datagrams"))
  end
  local stream, node = router.reach(ctx, path, deadline)
  if not stream then
    return nil, node
  end
  local endpoint
  endpoint, err = node.connector:packets(ctx, stream, network, address, deadline)
  if not endpoint then
    stream:close()
    return nil, node:blame(err)
  end
  return endpoint
end

--- Open an endpoint to one destination, or with the address "" to any.
-- @return endpoint | nil, err
function M.open(ctx, network, address)
  return router.retry(ctx, attempt, network, address)
end

--- Hand two endpoints to the relay.
function M.relay(ctx, a, b, options, tag)
  return udp().relay(ctx, a, b, options, tag)
end

return M
