-- WebSocket over TLS.

local component = require "tidegate.component"
local layers = require "tidegate.net.layers"

local LAYERS = { tls = true, ws = true }

return component.listener "wss" {
  doc = "WebSocket over TLS",
  network = "tcp",
  metadata = layers.listener_metadata(LAYERS),
  open = layers.open_listener(LAYERS),
  accept = layers.accept(LAYERS),
}
