-- Speaks to an HTTP proxy: CONNECT, and UDP over HTTP.

local base64 = require "tidegate.net.http.base64"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"
local header = require "tidegate.net.http.header"
local reply = require "tidegate.handler.http.reply"
local udp = require "tidegate.net.udp"

local CODES = { [403] = "blocked", [407] = "auth" }

-- The constant end of every request of this connector, from User-Agent on.
local function request_tail(self, network)
  local fields = { ["Proxy-Connection"] = "keep-alive" }
  if self.auth then
    fields["Proxy-Authorization"] = "Basic "
      .. base64.encode(self.auth.username .. ":" .. self.auth.password)
  end
  if network == "udp" then
    fields["X-Gost-Protocol"] = "udp"
  end
  local agent = "Go-http-client/1.1"
  local custom = {}
  for name, value in pairs(self.md.header or {}) do
    local lower = tostring(name):lower()
    if lower == "user-agent" then
      agent = tostring(value):gsub("[%z\r\n]", "")
    elseif lower ~= "host" and not fields[header.canonical(lower)] then -- our own come last, as gost's
      custom[name] = value
    end
  end
  return ("User-Agent: %s\r\n%s\r\n"):format(agent, reply.fields(custom, fields))
end

local function open(self)
  self.tails = { tcp = request_tail(self, "tcp"), udp = request_tail(self, "udp") }
  return true
end

local function earlier(a, b)
  return a and b and math.min(a, b) or a or b
end

local function refused(response, address)
  local code = CODES[response.status] or (response.status == 503 and "refused") or "protocol"
  return nil, failure.new(code, ("the proxy says %d %s"):format(response.status, response.reason),
    { layer = "http", op = "connect", addr = address })
end

local function exchange(self, stream, network, address)
  local ok, err = stream:write("CONNECT ", address, " HTTP/1.1\r\nHost: ", address, "\r\n",
    self.tails[network])
  if not ok then
    return nil, err
  end
  local response
  repeat
    response, err = head.response(stream)
    if not response then
      return nil, err
    end
  until response.status >= 200 or response.status == 101
  if response.status ~= 200 then
    return refused(response, address)
  end
  return true
end

-- Ask for a tunnel.  @return true | nil, err
local function request(self, ctx, stream, network, address, deadline)
  if address:find("[%c ]") then
    return nil, failure.new("invalid", ("unusable address %q"):format(address), { layer = "http" })
  end
  stream:set_deadline(earlier(deadline, ctx:after(self.md.timeout)))
  local ok, err = exchange(self, stream, network, address)
  if not ok then
    return nil, failure.is(err.cause) and err or err:during("connect", { layer = "http" })
  end
  stream:set_deadline(nil)
  return true
end

local function connect(self, ctx, stream, network, address, deadline)
  local datagrams = network == "udp"
  local ok, err = request(self, ctx, stream, datagrams and "udp" or "tcp", address, deadline)
  if not ok then
    return nil, err
  end
  return stream
end

local function packets(self, ctx, stream, _, address, deadline)
  local ok, err = request(self, ctx, stream, "udp", address, deadline)
  if not ok then
    return nil, err
  end
  return udp.tunnel(stream, address)
end

return component.connector "http" {
  doc = "HTTP proxy: CONNECT, UDP over HTTP",
  metadata = {
    timeout = { type = "duration", default = 0, doc = "limit on the handshake; 0: none" },
    header = { type = "map", doc = "header fields added to the request" },
  },
  open = open,
  connect = connect,
  packets = packets,
}
