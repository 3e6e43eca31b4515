-- Shadowsocks server, TCP.
--
-- Who sends something else than a valid request learns nothing: what comes is read and thrown away until
-- the time for a request is over.

local component = require "tidegate.component"
local metering = require "tidegate.process.metering"
local shadowsocks = require "tidegate.net.shadowsocks"
local ss = require "tidegate.native.ss"

local ADDRESS = ss.address

local function open(self)
  local err
  self.key, err = shadowsocks.server_key(self.auth, self.md.users, "handler ss")
  return self.key and true or nil, err
end

-- @return nil, the error, when there is nothing more to hear
local function ignore(top, deadline, why)
  local stream = ss.strip(top)
  if stream then
    stream:set_deadline(deadline)
    repeat
      local bytes = stream:read()
    until not bytes
    stream:close()
  end
  return nil, why
end

--- Take the request off a stream.
-- @return stream of the client's bytes, "host:port" of the target | nil, err
local function accept(self, ctx, stream)
  local timeout = self.md.readTimeout
  local deadline = ctx:after(timeout > 0 and timeout or 15)
  local top, err = ss.server(stream, self.key)
  if not top then
    return nil, err
  end
  ctx:own(top)
  top:set_deadline(deadline)
  local target
  target, err = top:receive(ADDRESS)
  if not target then
    err = err:during "request"
    if err.code == "auth" or err.code == "protocol" then
      return ignore(top, deadline, err)
    end
    return nil, err
  end
  top:set_deadline(nil)
  local user = ss.user(top)
  if user then
    ctx.user = user
    metering.authenticated(ctx)
  end
  return top, target
end

local function handle(self, ctx, stream)
  local top, target = accept(self, ctx, stream)
  if not top then
    return nil, target
  end
  local upstream, err = ctx:connect("tcp", target)
  if not upstream then
    return nil, err
  end
  return ctx:relay(top, upstream)
end

return component.handler "ss" {
  doc = "Shadowsocks server for TCP",
  metadata = {
    readTimeout = { type = "duration", default = 15, doc = "limit on the request" },
    users = { type = "map", doc = "name to key; for the methods 2022-blake3-aes-*" },
    key = { type = "string", doc = "without effect, as in gost" },
    hash = { type = "string", doc = "`host`: selectors hash the target, not the client's address" },
  },
  open = open,
  accept = accept,
  handle = handle,
}
