-- Plain TCP; the chain dials, with the node's socket options.

local component = require "tidegate.component"
local keepalive = require "tidegate.net.keepalive"

return component.dialer "tcp" {
  doc = "TCP",
  metadata = keepalive.with {
    dialTimeout = { type = "duration", doc = "accepted for gost's sake, not used there either" },
  },
}
