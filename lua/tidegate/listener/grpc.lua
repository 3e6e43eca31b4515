-- gRPC: each call of the tunnel's method is a raw stream.

local component = require "tidegate.component"
local grpc = require "tidegate.net.h2.grpc_tunnel"
local listen = require "tidegate.net.h2.listen"

local METADATA = grpc.with(listen.with({
  ["grpc.backlog"] = { type = "int", doc = "of gost; see backlog" },
  ["grpc.keepalive.time"] = {
    type = "duration",
    default = 60,
    aliases = { "keepalive.time" },
    doc = "silence before a ping",
  },
  ["grpc.keepalive.minTime"] = {
    type = "duration",
    default = 30,
    aliases = { "keepalive.minTime" },
    doc = "of gost; clients may ping as often as they like here, but for floods",
  },
  ["grpc.keepalive.maxConnectionIdle"] = {
    type = "duration",
    default = 0,
    aliases = { "keepalive.maxConnectionIdle" },
    doc = "connections without streams are closed after so long; 0: never",
  },
}, "tcp."))

local function session_options(md)
  local options = grpc.session_options(md)
  if md["grpc.keepalive"] and md["grpc.keepalive.maxConnectionIdle"] > 0 then
    options.idle = md["grpc.keepalive.maxConnectionIdle"]
  end
  return options
end

return component.listener "grpc" {
  doc = "gRPC; each call of the tunnel's method is a raw stream",
  network = "tcp",
  metadata = METADATA,

  open = function(self)
    self.path = grpc.path(self.md["grpc.path"])
    return self.md["grpc.insecure"] or listen.open_tls(self, { "h2" })
  end,

  accept = function(self, ctx, stream)
    if self.md["grpc.insecure"] then
      return listen.session(self, ctx, stream, session_options(self.md))
    end
    return listen.secure_session(self, ctx, stream, session_options(self.md))
  end,

  accept_stream = grpc.accept_stream,
}
