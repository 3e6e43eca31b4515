-- HTTP/2 in clear text (prior knowledge); all streams to a node share connections.

local component = require "tidegate.component"
local dial = require "tidegate.net.h2.dial"
local tunnel = require "tidegate.net.h2.tunnel"

local IDLE = 90 -- seconds, gost's

return component.dialer "h2c" {
  doc = "HTTP/2 without TLS; each request is a raw stream",
  metadata = tunnel.dialer_metadata(),
  multiplex = true,

  open = function(self)
    self.fields = tunnel.request_fields(self, "http")
    return dial.open(self, { idle = IDLE })
  end,

  close = dial.close,

  dial = function(self, ctx, node, _, deadline)
    return tunnel.dial(self, ctx, node, deadline)
  end,
}
