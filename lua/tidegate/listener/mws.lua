-- Many streams over a WebSocket.

local component = require "tidegate.component"
local layers = require "tidegate.net.layers"

local LAYERS = { ws = true, mux = 1 }

return component.listener "mws" {
  doc = "many streams over a WebSocket",
  network = "tcp",
  metadata = layers.listener_metadata(LAYERS),
  open = layers.open_listener(LAYERS),
  accept = layers.accept(LAYERS),
}
