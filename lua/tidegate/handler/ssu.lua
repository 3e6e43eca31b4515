-- Shadowsocks server, UDP: on a listener of datagrams, or on one of streams, with gost's UDP-TUN frames inside.

local component = require "tidegate.component"
local shadowsocks = require "tidegate.net.shadowsocks"
local ss_udp = require "tidegate.native.ss_udp"
local task = require "tidegate.native.task"
local udp = require "tidegate.net.udp"

local SESSION = 60 -- seconds of silence that end an association
local QUIET = 10000 -- ms between two lines about strangers; others are for those who debug
local RELAY = { idle = SESSION * 1000 }

local function open(self)
  local err
  self.key, err = shadowsocks.server_key(self.auth, self.md.users, "handler ssu")
  return self.key and true or nil, err
end

-- Anybody can send anything, under any address.
local function quieten(self, err)
  local now = task.now()
  if err.code == "auth" and self.complained and now - self.complained < QUIET then
    err.level = "debug"
  else
    self.complained = now
  end
  return err
end

local function handle_packets(self, ctx, session)
  local packet, user = ss_udp.server(session, self.key, self.md.gost)
  if not packet then
    return nil, quieten(self, user)
  end
  ctx:own(packet)
  shadowsocks.identify(ctx, user)
  local upstream, err = ctx:packets("udp", "")
  if not upstream then
    return nil, err
  end
  ctx.network = "udp"
  return ctx:relay_packets(packet, upstream, RELAY)
end

local function handle(self, ctx, stream)
  local top, err = shadowsocks.accept(self, ctx, stream)
  if not top then
    return nil, err
  end
  return udp.serve_tunnel(ctx, top, RELAY)
end

return component.handler "ssu" {
  doc = "Shadowsocks server for UDP",
  metadata = {
    users = { type = "map", doc = "name to key; for the methods 2022-blake3-aes-*" },
    gost = {
      type = "bool",
      default = false,
      doc = "the client is a gost up to 3.3, whose datagrams have no address when they come back",
    },
    key = { type = "string", doc = "without effect, as in gost" },
    readTimeout = { type = "duration", default = 15, doc = "limit on the request, over streams" },
    ["udp.bufferSize"] = {
      type = "int",
      aliases = { "udpBufferSize" },
      default = 4096,
      doc = "accepted for gost's sake: datagrams are never cut",
    },
  },
  session_ttl = SESSION,
  whole_datagrams = true,
  open = open,
  handle = handle,
  handle_packets = handle_packets,
}
