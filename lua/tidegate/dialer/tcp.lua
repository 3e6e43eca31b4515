-- Plain TCP; the chain dials, with the node's socket options.

local component = require "tidegate.component"

return component.dialer "tcp" {
  doc = "TCP",
  metadata = {
    keepalive = { type = "bool", default = false, doc = "use the three settings below" },
    ["keepalive.idle"] = { type = "duration", default = 15, doc = "silence before the first probe" },
    ["keepalive.interval"] = { type = "duration", default = 15, doc = "time between probes" },
    ["keepalive.count"] = { type = "int", default = 9, doc = "unanswered probes that end a connection" },
    dialTimeout = { type = "duration", doc = "accepted for gost's sake, not used there either" },
  },
}
