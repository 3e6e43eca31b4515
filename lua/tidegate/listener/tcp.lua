-- Plain TCP.  The control thread opens the socket; there is nothing to do per connection.

local component = require "tidegate.component"

return component.listener "tcp" {
  doc = "TCP",
  network = "tcp",
  metadata = {
    mptcp = { type = "bool", default = false, doc = "accept multipath TCP" },
    reuseport = { type = "bool", default = false, doc = "share the port with other processes" },
    keepalive = { type = "bool", default = false, doc = "use the three settings below" },
    ["keepalive.idle"] = { type = "duration", default = 15, doc = "silence before the first probe" },
    ["keepalive.interval"] = { type = "duration", default = 15, doc = "time between probes" },
    ["keepalive.count"] = { type = "int", default = 9, doc = "unanswered probes that end a connection" },
    backlog = { type = "int", default = 4096, doc = "connections the kernel keeps until they are accepted" },
    fastopen = { type = "bool", default = false, doc = "TCP Fast Open" },
  },
}
