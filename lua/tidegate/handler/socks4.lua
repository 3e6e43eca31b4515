-- SOCKS4 and SOCKS4a server: CONNECT.

local address = require "tidegate.native.address"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local sniffing = require "tidegate.handler.sniffing"
local socks = require "tidegate.native.socks"

local address_join = address.join

local REQUEST = socks.request4
local CONNECT = 1

local GRANTED = socks.encode_reply4(90)
local FAILED = socks.encode_reply4(91)
local REJECTED = socks.encode_reply4(92)
local USER_REJECTED = socks.encode_reply4(93)

-- Refuse with a reply; the reason is what counts.
local function refuse(stream, reply, err)
  stream:write(reply)
  return nil, err
end

local function handle(self, ctx, stream)
  stream:set_deadline(ctx:after(self.md.readTimeout))
  local command, host, port, user = stream:receive(REQUEST)
  if not command then
    return nil, host:during "request"
  elseif command ~= CONNECT then
    return nil, failure.new("unsupported", ("SOCKS4 command %d"):format(command))
  end

  if ctx:needs_auth() then
    local ok, err = ctx:authenticate(user, "")
    if not ok then
      return refuse(stream, USER_REJECTED, err)
    end
  end
  stream:set_deadline(nil)

  local target = address_join(host, port)
  local upstream, err = ctx:connect("tcp", target)
  if not upstream then
    return refuse(stream, err.code == "blocked" and REJECTED or FAILED, err)
  end

  local ok
  ok, err = stream:write(GRANTED)
  if not ok then
    return nil, err:during "reply"
  end
  return sniffing.join(self, ctx, stream, upstream)
end

return component.handler "socks4" {
  doc = "SOCKS4 and SOCKS4a proxy server",
  aliases = { "socks4a" },
  metadata = sniffing.with {
    readTimeout = {
      type = "duration",
      default = 15,
      min = 0,
      doc = "limit on the request",
    },
    hash = { type = "string", doc = "`host`: selectors hash the target, not the client's address" },
  },
  open = sniffing.open,
  handle = handle,
}
