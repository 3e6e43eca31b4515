-- TLS over TCP; the chain dials, with the node's socket options.

local component = require "tidegate.component"
local keepalive = require "tidegate.net.keepalive"
local native = require "tidegate.native.tls"
local reload = require "tidegate.tls.reload"
local tls = require "tidegate.tls"

return component.dialer "tls" {
  doc = "TLS over TCP",
  metadata = keepalive.with {
    handshakeTimeout = { type = "duration", doc = "limit on the TLS handshake" },
  },

  open = function(self)
    local err
    self.context, err = tls.client(self.tls)
    return self.context ~= nil, err
  end,

  handshake = function(self, ctx, stream, _, deadline)
    reload.check(self.context)
    local own = ctx:after(self.md.handshakeTimeout)
    if own and (not deadline or own < deadline) then
      deadline = own
    end
    return native.client(stream, self.context, self.tls and self.tls.serverName, deadline)
  end,
}
