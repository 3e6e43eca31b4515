-- Shadowsocks client, TCP.

local component = require "tidegate.component"
local failure = require "tidegate.failure"
local shadowsocks = require "tidegate.net.shadowsocks"
local silence = require "tidegate.chain.silence"
local ss = require "tidegate.native.ss"

local function open(self)
  local err
  self.key, err = shadowsocks.key(self.auth, "connector ss")
  self.causes = "its password, method or transport may be another"
  if self.key and self.auth.username:find("^2022%-") then
    self.causes = self.causes .. ", or its clock"
  end
  return self.key and true or nil, err
end

local function connect(self, ctx, stream, network, target)
  if network ~= "tcp" then
    return nil, failure.new("unsupported", ("ss connects to TCP only, not %s: ssu is for datagrams"):format(network))
  end
  silence.expect(ctx, self.node, self.causes)
  return ss.client(stream, self.key, target)
end

return component.connector "ss" {
  doc = "Shadowsocks client for TCP",
  metadata = {
    timeout = { type = "duration", default = 0, doc = "without effect: there is no handshake to wait for" },
    key = { type = "string", doc = "without effect, as in gost" },
  },
  open = open,
  connect = connect,
}
