-- SOCKS4 and SOCKS4a client.

local address = require "tidegate.native.address"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local resolve = require "tidegate.net.resolve"
local socks = require "tidegate.native.socks"

local CONNECT = 1
local GRANTED = 90

local REFUSALS = {
  [91] = { "unreachable", "the server rejected the request or failed" },
  [92] = { "blocked", "the server rejected the request" },
  [93] = { "auth", "the server rejected the user id" },
}

-- The smaller of the caller's deadline and our own timeout.
local function limit(self, ctx, deadline)
  local own = ctx:after(self.md.timeout)
  return own and deadline and math.min(own, deadline) or own or deadline
end

local function to_ipv4(host, deadline)
  if address.kind(host) == "ipv4" then
    return host
  end
  local list, err = resolve.lookup(host, deadline)
  if not list then
    return nil, err
  end
  for _, ip in ipairs(list) do
    if address.kind(ip) == "ipv4" then
      return ip
    end
  end
  return nil, failure.new("resolve", host .. " has no IPv4 address")
end

local function request_for(self, target, deadline)
  local host, port = address.split(target)
  if not host then
    return nil, port
  end
  local user = self.auth and self.auth.username or ""
  if not self.md.disable4a then
    return socks.encode_request4(CONNECT, host, port, user)
  end
  local ip, err = to_ipv4(host, deadline)
  if not ip then
    return nil, err
  end
  return socks.encode_request4(CONNECT, ip, port, user, true)
end

local function refusal(code)
  local known = REFUSALS[code]
  if known then
    return failure.new(known[1], known[2])
  end
  return failure.new("protocol", ("SOCKS4 reply %d"):format(code))
end

local function connect(self, ctx, stream, network, target, deadline)
  if network ~= "tcp" then
    return nil, failure.new("unsupported", "SOCKS4 carries TCP only, not " .. network)
  end
  deadline = limit(self, ctx, deadline)
  stream:set_deadline(deadline)
  local request, err = request_for(self, target, deadline)
  if not request then
    return nil, err
  end
  local ok
  ok, err = stream:write(request)
  if not ok then
    return nil, err:during "socks4 request"
  end
  local code
  code, err = stream:receive(socks.reply4)
  if not code then
    return nil, err:during "socks4 reply"
  elseif code ~= GRANTED then
    return nil, refusal(code)
  end
  stream:set_deadline(nil)
  return stream
end

return component.connector "socks4" {
  doc = "SOCKS4 and SOCKS4a proxy client",
  aliases = { "socks4a" },
  metadata = {
    timeout = { type = "duration", default = 0, doc = "limit on the handshake; 0: none" },
    disable4a = {
      type = "bool",
      default = false,
      doc = "resolve names here and send the IPv4 address (plain SOCKS4)",
    },
  },
  connect = connect,
}
