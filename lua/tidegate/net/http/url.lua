-- URLs of the schemes http and https (RFC 3986, 9110 4.2).

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"

local M = {}

local PORTS = { http = 80, https = 443 }

local function bad(text)
  return nil, failure.new("invalid", ("not a http or https URL: %q"):format(tostring(text)))
end

-- "%41" → "A"
local function unescape(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

--- Take a URL apart; the path has the query.
-- @return { scheme, host, port, authority, path, user, password } | nil, err
function M.parse(text)
  local scheme, authority, rest = tostring(text):match("^(%a+)://([^/?#]*)([^#]*)")
  scheme = scheme and scheme:lower()
  if not PORTS[scheme] or tostring(text):find("[%c ]") then
    return bad(text)
  end
  local credentials, place = authority:match("^(.*)@([^@]*)$")
  authority = place or authority
  local host, port = addr.split(authority)
  if host == "" or host:find("[/@%[%]]") or port and port > 65535 then
    return bad(text)
  elseif host:find(":", 1, true) and not addr.is_ip(host) then
    return bad(text)
  end

  local user, password
  if credentials then
    user, password = credentials:match("^([^:]*):?(.*)$")
  end
  return {
    scheme = scheme,
    host = host,
    port = port or PORTS[scheme],
    authority = authority,
    path = rest:find("^/") and rest or "/" .. rest,
    user = user and unescape(user),
    password = password and unescape(password),
  }
end

--- Where a Location leads, seen from a parsed URL.  @return absolute URL as text
function M.resolve(base, location)
  if location:find("^%a[%w+.-]*:") then
    return location
  end
  local root = ("%s://%s"):format(base.scheme, base.authority)
  if location:find("^//") then
    return base.scheme .. ":" .. location
  elseif location:find("^/") then
    return root .. location
  elseif location:find("^%?") then
    return root .. base.path:match("^[^?]*") .. location
  end
  return root .. base.path:match("^[^?]*"):match("^(.*/)") .. location
end

return M
