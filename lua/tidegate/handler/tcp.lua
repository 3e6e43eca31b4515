-- Port forwarding of TCP.

local component = require "tidegate.component"
local forward = require "tidegate.handler.forward.stream"

return component.handler "tcp" {
  doc = "forwards connections to the targets of the forwarder",
  metadata = forward.METADATA,
  open = forward.open,
  handle = forward.handle,
}
