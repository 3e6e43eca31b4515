-- Forwarding of streams, shared by the handlers tcp, forward and unix.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local load = require "tidegate.chain.load"
local proxy_protocol = require "tidegate.net.proxy_protocol"

local M = {}

M.METADATA = {
  readTimeout = { type = "duration", default = 15, doc = "limit on looking at the first bytes" },
  idleTimeout = { type = "duration", default = 0, doc = "end tunnels that are silent for so long" },
  proxyProtocol = { type = "int", doc = "version of the PROXY header sent to the target" },
  hash = { type = "string", doc = "host: the strategy hash looks at the target, not the client" },
}

function M.open(self)
  local idle = self.md.idleTimeout or 0
  self.relay_options = idle > 0 and { idle = idle * 1000 } or nil
  self.proxy_version = (self.md.proxyProtocol or 0) > 0 and self.md.proxyProtocol or nil
  return true
end

-- Where a target is: network and address.
local function place_of(target, network)
  if network == "unix" or target.network == "unix" then
    return "unix", target.addr
  end
  return target.network or network, target.port and target.addr or addr.with_port(target.addr, 0)
end

--- Connect to one of the targets.
-- @return stream | nil, err
function M.connect(self, ctx, network)
  local forwarder, target, err = self.service.forwarder, nil, nil
  if forwarder then
    target, err = forwarder:select(ctx, network, "")
  end
  if not target then
    return nil, err or failure.new("config", "no target available")
  end

  ctx.node = target.name
  local own_network, address = place_of(target, network)
  ctx.own_target = true
  local upstream
  upstream, err = ctx:connect(own_network, address)
  if not upstream then
    target.mark:fail()
    return nil, target:blame(err)
  end
  target.mark:ok()
  load.settle(ctx, target, upstream)
  return upstream
end

--- Handle a stream.
-- @param network "tcp" or "unix": how targets are reached that do not say it
function M.forward(self, ctx, stream, network)
  local upstream, err = M.connect(self, ctx, network)
  if not upstream then
    return nil, err
  end
  if self.proxy_version then
    local ok
    ok, err = proxy_protocol.send(ctx, upstream, self.proxy_version)
    if not ok then
      return nil, err:during("PROXY header")
    end
  end
  return ctx:relay(stream, upstream, self.relay_options)
end

--- The handler's entry for TCP.
function M.handle(self, ctx, stream)
  return M.forward(self, ctx, stream, "tcp")
end

return M
