-- Many streams over TLS.

local component = require "tidegate.component"
local layers = require "tidegate.net.layers"

local LAYERS = { tls = true, mux = 1 }

return component.listener "mtls" {
  doc = "many streams over TLS",
  network = "tcp",
  metadata = layers.listener_metadata(LAYERS),
  open = layers.open_listener(LAYERS),
  accept = layers.accept(LAYERS),
}
