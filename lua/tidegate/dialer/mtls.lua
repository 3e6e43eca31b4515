-- Many streams over TLS; the sessions to a node are used again.

local component = require "tidegate.component"
local layers = require "tidegate.net.layers"

local LAYERS = { tls = true, mux = 1 }

return component.dialer "mtls" {
  doc = "many streams over TLS",
  metadata = layers.dialer_metadata(LAYERS),
  multiplex = true,
  open = layers.open_dialer(LAYERS),
  close = layers.close,
  dial = layers.dial(LAYERS),
}
