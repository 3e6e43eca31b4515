-- Unix stream sockets; the node's address is a path.

local component = require "tidegate.component"
local stream = require "tidegate.native.stream"

return component.dialer "unix" {
  doc = "unix stream socket",
  metadata = {},
  resolves = false,
  proxy_header = false,

  dial = function(_, _, _, path, deadline)
    return stream.dial("unix:" .. path, nil, deadline)
  end,
}
