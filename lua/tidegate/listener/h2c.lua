-- HTTP/2 in clear text (prior knowledge): each request is a raw stream.

local component = require "tidegate.component"
local listen = require "tidegate.net.h2.listen"
local tunnel = require "tidegate.net.h2.tunnel"

return component.listener "h2c" {
  doc = "HTTP/2 without TLS; each request is a raw stream",
  network = "tcp",
  metadata = tunnel.listener_metadata(),
  accept = listen.session,
  accept_stream = tunnel.accept_stream,
}
