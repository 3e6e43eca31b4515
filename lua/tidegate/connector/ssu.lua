-- Shadowsocks client, UDP: over a dialer of datagrams, or over one of streams, with gost's UDP-TUN frames inside.

local component = require "tidegate.component"
local failure = require "tidegate.failure"
local packet = require "tidegate.native.packet"
local shadowsocks = require "tidegate.net.shadowsocks"
local ss = require "tidegate.native.ss"
local ss_udp = require "tidegate.native.ss_udp"
local udp = require "tidegate.net.udp"

local function open(self)
  local err
  self.key, err = shadowsocks.key(self.auth, "connector ssu")
  return self.key and true or nil, err
end

local function packets(self, _, stream, _, target)
  if stream:layer() == "udp" then
    return ss_udp.client(stream, self.key, target ~= "" and target or nil, self.md.gost)
  end
  local top, err = ss.client(stream, self.key, target ~= "" and target or "0.0.0.0:0")
  if not top then
    return nil, err
  end
  return udp.tunnel(top, target)
end

local function connect(self, ctx, stream, network, target, deadline)
  if network ~= "udp" then
    return nil, failure.new("unsupported", ("ssu carries datagrams only, not %s: ss is for TCP"):format(network))
  end
  local endpoint, err = packets(self, ctx, stream, network, target, deadline)
  if not endpoint then
    return nil, err
  end
  return packet.as_stream(endpoint)
end

return component.connector "ssu" {
  doc = "Shadowsocks client for UDP",
  metadata = {
    timeout = {
      type = "duration",
      aliases = { "connectTimeout" },
      default = 0,
      doc = "without effect: there is no handshake to wait for",
    },
    gost = {
      type = "bool",
      default = false,
      doc = "the server is a gost up to 3.3: its answers have no address, and other keys with 2022 methods",
    },
    key = { type = "string", doc = "without effect, as in gost" },
    ["udp.bufferSize"] = {
      type = "int",
      aliases = { "udpBufferSize" },
      default = 4096,
      doc = "accepted for gost's sake: datagrams are never cut",
    },
  },
  open = open,
  connect = connect,
  packets = packets,
}
