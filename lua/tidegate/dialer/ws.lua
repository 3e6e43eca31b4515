-- WebSocket over TCP; the chain dials, with the node's socket options.

local component = require "tidegate.component"
local layers = require "tidegate.net.layers"

local LAYERS = { ws = true }

return component.dialer "ws" {
  doc = "WebSocket over TCP",
  metadata = layers.dialer_metadata(LAYERS),
  open = layers.open_dialer(LAYERS),
  handshake = layers.handshake(LAYERS),
}
