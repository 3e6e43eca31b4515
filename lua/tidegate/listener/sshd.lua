-- SSH server for port forwarding, as any SSH client asks for it.

local component = require "tidegate.component"
local forwards = require "tidegate.net.ssh.forwards"
local listen = require "tidegate.net.ssh.listen"

local schema = listen.metadata()
schema.bind = listen.BIND

local function accept(self, ctx, stream)
  local session, err = listen.accept(self, ctx, stream)
  if session then
    forwards.start(self, ctx, session)
  end
  return session, err
end

return component.listener "sshd" {
  doc = "SSH server for port forwarding; its channels go to the handler sshd",
  network = "tcp",
  metadata = schema,
  open = listen.open(false),
  accept = accept,
  accept_stream = listen.accept_stream,
}
