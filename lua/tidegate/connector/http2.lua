-- Speaks to an HTTP/2 proxy: CONNECT, one stream each.

local base64 = require "tidegate.net.http.base64"
local component = require "tidegate.component"
local dial = require "tidegate.net.h2.dial"
local failure = require "tidegate.failure"
local h2 = require "tidegate.native.h2"

local CODES = { ["403"] = "blocked", ["407"] = "auth", ["502"] = "refused", ["503"] = "refused" }

local function earlier(a, b)
  return a and b and math.min(a, b) or a or b
end

local function open(self)
  local dialer = self.node and self.node.dialer
  if dialer and dialer.name ~= "http2" then
    return nil, failure.new("config", "the connector http2 goes with the dialer http2 only")
  end
  self.fields = dial.add_fields({}, self.md.header)
  if self.auth then
    self.fields[#self.fields + 1] = "proxy-authorization"
    self.fields[#self.fields + 1] = "Basic "
      .. base64.encode(self.auth.username .. ":" .. self.auth.password)
  end
  return true
end

local function connect(self, ctx, door, network, address, deadline)
  if not door.request then
    return nil, failure.new("config", "the connector http2 goes with the dialer http2 only")
  elseif network == "udp" then
    return nil, failure.new("unsupported", "HTTP/2 proxies carry no datagrams")
  elseif address:find "[%c ]" then
    return nil, failure.new("invalid", ("unusable address %q"):format(address), { layer = "http2" })
  end
  local fields = { ":method", "CONNECT", ":authority", address, unpack(self.fields) }
  return door:request(earlier(deadline, ctx:after(self.md.timeout)), fields, function(stream)
    local headers, err = h2.headers(stream)
    if not headers then
      return nil, err
    end
    local status = headers[":status"]
    if status == "200" then
      return stream
    end
    return nil, failure.new(CODES[status] or "protocol", status == "407"
      and "the proxy says 407 Proxy Authentication Required" or ("the proxy says %s"):format(tostring(status)),
      { layer = "http2", op = "connect", addr = address })
  end)
end

return component.connector "http2" {
  doc = "HTTP/2 proxy: CONNECT",
  metadata = {
    timeout = { type = "duration", default = 0, doc = "limit on the handshake; 0: none" },
    header = { type = "map", doc = "header fields added to the request" },
  },
  open = open,
  connect = connect,
}
