-- Port forwarding of UDP.

local component = require "tidegate.component"
local packets = require "tidegate.handler.forward.packets"
local stream = require "tidegate.handler.forward.stream"

return component.handler "udp" {
  doc = "forwards datagrams (and connections) to the targets of the forwarder",
  metadata = packets.metadata_with(stream.METADATA),
  open = stream.open,
  handle = stream.handle,
  handle_packets = packets.handle,
}
