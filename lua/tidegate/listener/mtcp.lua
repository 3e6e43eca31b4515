-- Many streams over a TCP connection.

local component = require "tidegate.component"
local layers = require "tidegate.net.layers"

local LAYERS = { mux = 2 }

return component.listener "mtcp" {
  doc = "many streams over a TCP connection",
  network = "tcp",
  metadata = layers.listener_metadata(LAYERS),
  open = layers.open_listener(LAYERS),
  accept = layers.accept(LAYERS),
}
