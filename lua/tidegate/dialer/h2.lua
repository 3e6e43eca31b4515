-- HTTP/2 over TLS; all streams to a node share connections.

local component = require "tidegate.component"
local dial = require "tidegate.net.h2.dial"
local tunnel = require "tidegate.net.h2.tunnel"

local IDLE = 90 -- seconds, gost's

return component.dialer "h2" {
  doc = "HTTP/2 over TLS; each request is a raw stream",
  metadata = tunnel.dialer_metadata(),
  multiplex = true,

  open = function(self)
    self.fields = tunnel.request_fields(self, "https")
    return dial.open(self, { alpn = { "h2", "http/1.1" }, idle = IDLE })
  end,

  close = dial.close,

  dial = function(self, ctx, node, _, deadline)
    return tunnel.dial(self, ctx, node, deadline)
  end,
}
