-- Plain TCP.  The control thread opens the socket; there is nothing to do per connection.

local component = require "tidegate.component"
local keepalive = require "tidegate.net.keepalive"

return component.listener "tcp" {
  doc = "TCP",
  network = "tcp",
  metadata = keepalive.with {
    mptcp = { type = "bool", default = false, doc = "accept multipath TCP" },
    reuseport = { type = "bool", default = false, doc = "share the port with other processes" },
    backlog = { type = "int", default = 4096, doc = "connections the kernel keeps until they are accepted" },
    fastopen = { type = "bool", default = false, doc = "TCP Fast Open" },
  },
}
