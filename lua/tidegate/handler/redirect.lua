-- Transparent proxying of TCP: each connection goes where it was going before the packet filter sent
-- it here.

local addr = require "tidegate.net.addr"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local original = require "tidegate.native.original"
local sniffing = require "tidegate.handler.sniffing"
local tunnel = require "tidegate.handler.sniffing.tunnel"
local uv = require "luv"

local function loops(address)
  return nil, failure.new("invalid",
    "the connection was meant for this very port; it was not redirected, and following it would go in circles",
    { layer = "redirect", addr = address })
end

-- Is it an address of this host?
local function is_own(host)
  local bytes = addr.bytes(host)
  for _, addresses in pairs(uv.interface_addresses()) do
    for _, one in ipairs(addresses) do
      if addr.bytes(one.ip) == bytes then
        return true
      end
    end
  end
  return false
end

-- With TPROXY the socket's own address is where the client wanted to go.
local function from_socket(self, ctx)
  local address = ctx.local_address
  local host, port = addr.split(address)
  local _, own_port = addr.split(self.service.addr)
  if port == own_port and is_own(host) then
    return loops(address)
  end
  return address
end

local function from_filter(ctx, stream)
  local address, err = original.destination(stream)
  if not address then
    return nil, err
  elseif address == ctx.local_address then
    return loops(address)
  end
  return address
end

local function handle(self, ctx, stream)
  local target, err
  if self.md.tproxy then
    target, err = from_socket(self, ctx)
  else
    target, err = from_filter(ctx, stream)
  end
  if not target then
    return nil, err
  end
  if self.sniffer then
    local _, port = addr.split(target)
    return sniffing.serve(self.sniffer, ctx, stream, tunnel.by_name(ctx, function(one)
      return one:connect("tcp", target)
    end, { always = self.md["sniffing.dialOriginalDst"], fallback = self.md["sniffing.fallback"], port = port }))
  end
  local upstream
  upstream, err = ctx:connect("tcp", target)
  if not upstream then
    return nil, err
  end
  return ctx:relay(stream, upstream)
end

return component.handler "redirect" {
  doc = "goes where a redirected connection was going",
  aliases = { "red", "redir" },
  metadata = sniffing.with {
    readTimeout = { type = "duration", default = 15, min = 0, doc = "limit on looking at the first bytes" },
    tproxy = { type = "bool", default = false, doc = "connections come by TPROXY, not by REDIRECT" },
    ["sniffing.fallback"] = {
      type = "bool",
      default = false,
      doc = "go to the original destination when the name that was seen cannot be reached",
    },
    ["sniffing.dialOriginalDst"] = {
      type = "bool",
      default = false,
      doc = "go to the original destination, whatever name was seen",
    },
  },
  open = sniffing.open,
  handle = handle,
}
