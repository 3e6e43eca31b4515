-- Many streams over one SSH connection, in channels of gost's own type.

local component = require "tidegate.component"
local listen = require "tidegate.net.ssh.listen"

return component.listener "ssh" {
  doc = "many streams over an SSH connection",
  network = "tcp",
  metadata = listen.metadata(),
  open = listen.open(true),
  accept = listen.accept,
  accept_stream = listen.accept_stream,
}
