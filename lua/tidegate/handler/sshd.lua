-- Port forwarding of SSH: each channel of the listener sshd names its target.

local address = require "tidegate.native.address"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local native = require "tidegate.native.ssh"

local function handle(_, ctx, stream)
  local host, port = native.target(stream)
  if not host then
    return nil, failure.new("config", "the handler sshd needs the listener sshd")
  end
  if host == "<nil>" then -- gost's client, when it was given no host
    host = ""
  end
  local upstream, err = ctx:connect("tcp", address.join(host, port))
  if not upstream then
    return nil, err
  end
  return ctx:relay(stream, upstream)
end

return component.handler "sshd" {
  doc = "port forwarding of SSH (direct-tcpip); needs the listener sshd",
  metadata = {
    readTimeout = { type = "duration", default = 15, doc = "known to gost; no effect here" },
  },
  handle = handle,
}
