-- Nothing is spoken: the node's port is the target's, whatever the target.

local component = require "tidegate.component"

return component.connector "serial" {
  doc = "takes the node's serial port for the connection to the target",
  metadata = {},

  connect = function(_, _, stream)
    return stream
  end,
}
