-- simple-obfs' HTTP disguise over TCP.

local component = require "tidegate.component"
local obfs = require "tidegate.net.obfs"

return component.listener "ohttp" {
  doc = "simple-obfs' HTTP disguise over TCP",
  network = "tcp",
  metadata = {
    header = { type = "map", doc = "header fields added to the answer" },
    handshakeTimeout = { type = "duration", default = 30, doc = "limit on the client's request" },
    mptcp = { type = "bool", default = false, doc = "accept multipath TCP" },
    backlog = { type = "int", default = 4096, doc = "connections the kernel keeps until accepted" },
  },

  open = function(self)
    local err
    self.fields, err = obfs.fields(self.md.header)
    return self.fields ~= nil, err
  end,

  accept = function(self, ctx, stream)
    return obfs.server(stream, self.fields, ctx:after(self.md.handshakeTimeout))
  end,
}
