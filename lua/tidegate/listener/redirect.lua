-- TCP connections that the packet filter sends here: REDIRECT, or TPROXY with `tproxy`.

local component = require "tidegate.component"

return component.listener "redirect" {
  doc = "TCP connections sent here by the packet filter",
  aliases = { "red", "redir" },
  network = "tcp",
  metadata = {
    tproxy = { type = "bool", default = false, doc = "they come by TPROXY: their addresses are unchanged" },
    mptcp = { type = "bool", default = false, doc = "accept multipath TCP" },
    reuseport = { type = "bool", default = false, doc = "share the port with other processes" },
    backlog = { type = "int", default = 4096, doc = "connections the kernel keeps until accepted" },
  },
}
