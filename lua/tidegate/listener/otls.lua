-- simple-obfs' TLS disguise over TCP.

local component = require "tidegate.component"
local obfs_tls = require "tidegate.native.obfs_tls"

return component.listener "otls" {
  doc = "simple-obfs' TLS disguise over TCP; nothing is encrypted",
  network = "tcp",
  metadata = {
    mptcp = { type = "bool", default = false, doc = "accept multipath TCP" },
    backlog = { type = "int", default = 4096, doc = "connections the kernel keeps until accepted" },
  },

  accept = function(_, ctx, stream)
    ctx.remote = stream:remote_address() or "@"
    ctx.local_address = stream:local_address() or "@"
    return obfs_tls.server(stream)
  end,
}
