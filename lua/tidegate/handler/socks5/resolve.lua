-- SOCKS5 RESOLVE and RESOLVE_PTR (Tor): only a socks5 server at the end of the chain can answer.

local address = require "tidegate.native.address"
local failure = require "tidegate.failure"
local refused = require "tidegate.net.refuse"
local socks = require "tidegate.native.socks"

local OK, FAILED, NOT_ALLOWED, BAD_COMMAND = 0, 1, 2, 7

local function refuse(stream, status, err)
  return refused(stream, socks.encode_reply5(status), err)
end

return function(self, ctx, stream, host, port, command)
  if not self.md.tor then
    return refuse(stream, BAD_COMMAND, failure.new("unsupported", "RESOLVE is not enabled"))
  end
  ctx.socks_command = command
  local upstream, err = ctx:connect("tcp", address.join(host, port))
  if not upstream then
    return refuse(stream, err.code == "blocked" and NOT_ALLOWED or FAILED, err)
  end
  local answer = ctx.socks_answer
  if not answer then
    err = failure.new("unsupported", "no socks5 node at the end of the chain to ask")
    return refuse(stream, FAILED, err)
  end
  local found_host, found_port = address.split(answer)
  return stream:write(socks.encode_reply5(OK, found_host, found_port))
end
