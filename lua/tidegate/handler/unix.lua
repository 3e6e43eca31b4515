-- Forwarding to unix sockets, or through a chain whose far end knows the target.

local component = require "tidegate.component"
local forward = require "tidegate.handler.forward.stream"
local sniffing = require "tidegate.handler.sniffing"

return component.handler "unix" {
  doc = "forwards connections to the unix sockets of the forwarder",
  metadata = forward.METADATA,
  open = forward.open,
  close = forward.close,

  handle = function(self, ctx, stream)
    if self.service.forwarder then
      return forward.forward(self, ctx, stream, "unix")
    end
    -- The far relay is in forward mode: what is asked for does not matter.
    local upstream, err = ctx:connect("tcp", "@:0")
    if not upstream then
      return nil, err
    end
    return sniffing.join(self, ctx, stream, upstream, self.relay_options)
  end,
}
