-- Port forwarding of SSH: each channel of the listener sshd names its target.

local address = require "tidegate.native.address"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local native = require "tidegate.native.ssh"
local sniffing = require "tidegate.handler.sniffing"

local function handle(self, ctx, stream)
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
  return sniffing.join(self, ctx, stream, upstream)
end

local function open(self)
  local listener = self.service and self.service.listener
  if listener and listener.name ~= "sshd" then
    return nil, failure.new("config", "the handler sshd goes with the listener sshd only")
  end
  return sniffing.open(self)
end

return component.handler "sshd" {
  doc = "port forwarding of SSH (direct-tcpip); needs the listener sshd",
  metadata = sniffing.with {
    readTimeout = { type = "duration", default = 15, min = 0, doc = "limit on the head of a response, where it looks" },
  },
  open = open,
  handle = handle,
}
