-- Nothing is spoken: the node's stream is the target's, whatever the target.

local bare = require "tidegate.net.bare"
local component = require "tidegate.component"

return component.connector "tcp" {
  doc = "takes the connection to the node for the connection to the target",
  metadata = {},
  connect = bare.connect,
  packets = bare.packets,
}
