-- WebSocket over TLS; the chain dials, with the node's socket options.

local component = require "tidegate.component"
local layers = require "tidegate.net.layers"

local LAYERS = { tls = true, ws = true }

return component.dialer "wss" {
  doc = "WebSocket over TLS",
  metadata = layers.dialer_metadata(LAYERS),
  open = layers.open_dialer(LAYERS),
  handshake = layers.handshake(LAYERS),
}
