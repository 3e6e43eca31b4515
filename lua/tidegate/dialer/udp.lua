-- UDP to the node: each write is a datagram, each read takes one.

local component = require "tidegate.component"
local packet = require "tidegate.native.packet"

local function first_v4(where)
  if type(where) == "string" then
    return where
  end
  for i = 1, #where do
    if not where[i]:find("[", 1, true) then
      return where[i]
    end
  end
  return where[1]
end

return component.dialer "udp" {
  doc = "UDP, one datagram for each write",
  metadata = {},
  dial = function(_, ctx, node, where)
    local options = node.sockets and node.sockets:options(ctx) or nil
    local endpoint, err = packet.udp { connect = first_v4(where), options = options }
    if not endpoint then
      return nil, err
    end
    return packet.as_stream(endpoint)
  end,
}
