-- Unix stream sockets.  The control thread opens the socket.

local component = require "tidegate.component"

return component.listener "unix" {
  doc = "unix stream socket",
  network = "unix",
  metadata = {
    mode = { type = "string", doc = "permissions of the socket, octal with a leading 0" },
    backlog = { type = "int", default = 4096, doc = "connections the kernel keeps until they are accepted" },
  },
}
