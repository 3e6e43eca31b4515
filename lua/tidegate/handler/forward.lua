-- Port forwarding: each connection goes to one of the forwarder's targets.

local component = require "tidegate.component"
local forward = require "tidegate.handler.forward.stream"
local packets = require "tidegate.handler.forward.packets"

return component.handler "forward" {
  doc = "forwards connections to the targets of the forwarder",
  aliases = { "rtcp", "rudp", "runix" },
  metadata = packets.metadata_with(forward.METADATA),
  open = forward.open,
  close = forward.close,
  handle = forward.handle,
  handle_packets = packets.handle,
}
