-- HTTP/2 over TLS: each request is a raw stream.

local component = require "tidegate.component"
local listen = require "tidegate.net.h2.listen"
local tunnel = require "tidegate.net.h2.tunnel"

return component.listener "h2" {
  doc = "HTTP/2 over TLS; each request is a raw stream",
  network = "tcp",
  metadata = tunnel.listener_metadata(),

  open = function(self)
    return listen.open_tls(self, { "h2", "http/1.1" })
  end,

  accept = listen.secure_session,
  accept_stream = tunnel.accept_stream,
}
