-- Nothing is spoken: the node's stream is the target's, whatever the target.

local component = require "tidegate.component"

return component.connector "unix" {
  doc = "takes the connection to the node for the connection to the target",
  metadata = {},

  connect = function(_, _, stream)
    return stream
  end,
}
