-- TLS over TCP.

local component = require "tidegate.component"
local keepalive = require "tidegate.net.keepalive"
local native = require "tidegate.native.tls"
local reload = require "tidegate.tls.reload"
local tls = require "tidegate.tls"

return component.listener "tls" {
  doc = "TLS over TCP",
  network = "tcp",
  metadata = keepalive.with {
    mptcp = { type = "bool", default = false, doc = "accept multipath TCP" },
    reuseport = { type = "bool", default = false, doc = "share the port with other processes" },
    backlog = { type = "int", default = 4096, doc = "connections the kernel keeps until accepted" },
    handshakeTimeout = { type = "duration", default = 30, doc = "limit on the TLS handshake" },
  },

  open = function(self)
    local registry = self.service and self.service.registry
    local err
    self.context, err = tls.server(self.tls, registry and registry.config.tls)
    return self.context ~= nil, err
  end,

  accept = function(self, ctx, stream)
    reload.check(self.context)
    -- Asked now: a handshake that fails uses the stream up.
    ctx.remote = stream:remote_address() or "@"
    ctx.local_address = stream:local_address() or "@"
    return native.server(stream, self.context, ctx:after(self.md.handshakeTimeout))
  end,
}
