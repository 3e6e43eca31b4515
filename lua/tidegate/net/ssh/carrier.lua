-- What lies beneath a session of SSH: the library works on a descriptor.

local native = require "tidegate.native.ssh"
local relay = require "tidegate.native.relay"

local M = {}

local options

--- A stream whose bytes are a descriptor's: the one given, or where that has layers (TLS, a way through
-- proxies) or limits, the near end of a pair that is joined with it.
-- @return stream; the one given is used up; { local address, remote address } of a pair | nil, err
function M.plain(stream)
  if native.is_plain(stream) then
    return stream
  end
  local near, far = native.plain_pair()
  if not near then
    stream:close()
    return nil, far
  end
  options = options or relay.options { linger = 1000 }
  local names = { stream:local_address() or "@", stream:remote_address() or "@" }
  relay.start(stream, far, options)
  return near, names
end

return M
