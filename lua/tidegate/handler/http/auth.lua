-- Credentials of a request: Proxy-Authorization, scheme Basic (RFC 7617).

local base64 = require "tidegate.net.http.base64"
local head = require "tidegate.net.http.head"

local string_match = string.match

local M = {}

--- @return user, password; both empty when there are none, as gost takes it
function M.credentials(request)
  local value = head.get(request, "proxy-authorization")
  local encoded = value and string_match(value, "^Basic (.*)$")
  local plain = encoded and base64.decode(encoded)
  if not plain then
    return "", ""
  end
  local user, password = string_match(plain, "^([^:]*):(.*)$")
  return user or "", password or ""
end

--- Does the client have to show credentials, and are they good?  @return true | nil, err
function M.check(ctx, request)
  if not ctx:needs_auth() then
    return true
  end
  return ctx:authenticate(M.credentials(request))
end

return M
