-- UDP to the node: each write is a datagram, each read takes one.

local addr = require "tidegate.net.addr"
local component = require "tidegate.component"
local packet = require "tidegate.native.packet"

return component.dialer "udp" {
  doc = "UDP, one datagram for each write",
  metadata = {},
  dial = function(_, ctx, node, where)
    local options = node.sockets and node.sockets:options(ctx) or nil
    local endpoint, err = packet.udp { connect = addr.first_v4(where), options = options }
    if not endpoint then
      return nil, err
    end
    return packet.as_stream(endpoint)
  end,
}
