-- Port forwarding: each connection goes to one of the forwarder's targets.

local component = require "tidegate.component"
local forward = require "tidegate.handler.forward.stream"

return component.handler "forward" {
  doc = "forwards connections to the targets of the forwarder",
  metadata = forward.METADATA,
  open = forward.open,
  handle = forward.handle,
}
