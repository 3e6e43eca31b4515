-- Shadowsocks server, TCP.

local component = require "tidegate.component"
local shadowsocks = require "tidegate.net.shadowsocks"
local sniffing = require "tidegate.handler.sniffing"

local function open(self)
  local err
  self.key, err = shadowsocks.server_key(self.auth, self.md.users, "handler ss")
  if not self.key then
    return nil, err
  end
  return sniffing.open(self)
end

local function handle(self, ctx, stream)
  local top, target = shadowsocks.accept(self, ctx, stream)
  if not top then
    return nil, target
  end
  local upstream, err = ctx:connect("tcp", target)
  if not upstream then
    return nil, err
  end
  return sniffing.join(self, ctx, top, upstream)
end

return component.handler "ss" {
  doc = "Shadowsocks server for TCP",
  metadata = sniffing.with {
    readTimeout = { type = "duration", default = 15, min = 0, doc = "limit on the request" },
    users = { type = "map", doc = "name to key; for the methods 2022-blake3-aes-*" },
    key = { type = "string", doc = "without effect, as in gost" },
    hash = { type = "string", doc = "`host`: selectors hash the target, not the client's address" },
  },
  open = open,
  handle = handle,
}
