-- simple-obfs' TLS disguise over TCP; the chain dials, with the node's socket options.

local component = require "tidegate.component"
local failure = require "tidegate.failure"
local obfs_tls = require "tidegate.native.obfs_tls"

local HOST_MAX = 255

return component.dialer "otls" {
  doc = "simple-obfs' TLS disguise over TCP; nothing is encrypted",
  proxy_header = false,
  metadata = {
    host = { type = "string", default = "", doc = "server name shown instead of the node's address" },
  },

  open = function(self)
    self.host = self.md.host ~= "" and self.md.host or self.node.addr
    if #self.host > HOST_MAX then
      return nil, failure.new("config", "host: longer than 255 characters")
    end
    return true
  end,

  handshake = function(self, _, stream)
    return obfs_tls.client(stream, self.host)
  end,
}
