-- Dials the target from here, with the node's socket options; or refuses it.

local component = require "tidegate.component"
local router = require "tidegate.chain.router"
local sockets = require "tidegate.chain.sockets"
local native = require "tidegate.native.stream"

-- A stream that is at its end and takes nothing: its other end is closed.
local function rejecting()
  local near, far = native.pair()
  far:close()
  return near
end

return component.connector "direct" {
  doc = "dials the target itself",
  aliases = { "virtual" },
  metadata = {
    action = { type = "string", doc = "reject: give a connection that ends at once", values = { "reject" } },
  },

  connect = function(self, ctx, stream, network, address, deadline)
    stream:close()
    if self.md.action == "reject" then
      return rejecting()
    elseif network == "serial" then
      return require("tidegate.net.serial").open(address)
    elseif network == "unix" then
      return sockets.dial(self.node.sockets, ctx, "unix:" .. address, deadline)
    end
    local where, err = router.resolve(ctx, address, deadline)
    if not where then
      return nil, err
    end
    return sockets.dial(self.node.sockets, ctx, where, deadline)
  end,
}
