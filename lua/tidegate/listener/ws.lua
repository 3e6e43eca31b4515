-- WebSocket over TCP.

local component = require "tidegate.component"
local layers = require "tidegate.net.layers"

local LAYERS = { ws = true }

return component.listener "ws" {
  doc = "WebSocket over TCP",
  network = "tcp",
  metadata = layers.listener_metadata(LAYERS),
  open = layers.open_listener(LAYERS),
  accept = layers.accept(LAYERS),
}
