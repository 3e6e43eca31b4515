-- gRPC; all streams to a node share connections.

local component = require "tidegate.component"
local dial = require "tidegate.net.h2.dial"
local grpc = require "tidegate.net.h2.grpc_tunnel"

local IDLE = 1800 -- seconds, gRPC's

local METADATA = grpc.with(dial.with({
  ["grpc.authority"] = {
    type = "string",
    default = "",
    aliases = { "grpc.host", "host" },
    doc = "the request's authority instead of the node's host",
  },
  ["grpc.keepalive.time"] = {
    type = "duration",
    default = 30,
    aliases = { "keepalive.time" },
    doc = "silence before a ping; a gost server without keepalive takes one in five minutes",
  },
  ["grpc.minConnectTimeout"] = {
    type = "duration",
    default = 30,
    aliases = { "minConnectTimeout" },
    doc = "limit on the TLS handshake",
  },
}, "tcp."))

return component.dialer "grpc" {
  doc = "gRPC; each call of the tunnel's method is a raw stream",
  metadata = METADATA,
  multiplex = true,

  open = function(self)
    self.fields = grpc.request_fields(self)
    self.md.handshakeTimeout = self.md.handshakeTimeout or self.md["grpc.minConnectTimeout"]
    return dial.open(self, {
      alpn = not self.md["grpc.insecure"] and { "h2" } or nil,
      idle = IDLE,
      session = grpc.session_options(self.md),
    })
  end,

  close = dial.close,

  dial = function(self, ctx, node, _, deadline)
    return grpc.dial(self, ctx, node, deadline)
  end,
}
