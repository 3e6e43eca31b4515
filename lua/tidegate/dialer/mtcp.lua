-- Many streams over a TCP connection; the sessions to a node are used again.

local component = require "tidegate.component"
local layers = require "tidegate.net.layers"

local LAYERS = { mux = 2 }

return component.dialer "mtcp" {
  doc = "many streams over a TCP connection",
  metadata = layers.dialer_metadata(LAYERS),
  multiplex = true,
  open = layers.open_dialer(LAYERS),
  close = layers.close,
  dial = layers.dial(LAYERS),
}
