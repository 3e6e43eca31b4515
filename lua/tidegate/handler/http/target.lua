-- Where a request wants to go.

local addr = require "tidegate.net.addr"
local head = require "tidegate.net.http.head"
local name = require "tidegate.net.http.name"

local string_find = string.find
local string_lower = string.lower
local string_match = string.match

local M = {}

local DEFAULT_PORT = 80 -- gost's, for CONNECT as well

-- "host", "host:port", "[v6]:port" → "host:port" | nil when it is no such thing
local function normalise(authority, default_port)
  local host, port = addr.split(authority)
  if port and port > 65535 or string_find(host, "[%s%[%]/@?#\\]") then
    return nil
  elseif string_find(host, ":", 1, true) then
    return addr.is_ip(host) and addr.join(host, port or default_port) or nil
  end
  return host .. ":" .. (port or default_port)
end

-- Names which some clients hide; the later one wins.
local function override(request)
  local hidden = head.get(request, "x-gost-target")
  local target = hidden and name.decode(hidden)
  if not target then
    hidden = head.get(request, "gost-target")
    target = hidden and name.decode(hidden)
  end
  return target
end

-- Sets scheme, authority and path of a request whose target is no authority.
local function split_uri(request)
  local target = request.target
  if string_find(target, "^[/*]") then
    request.scheme, request.authority, request.path = "http", request.host or "", target
    return
  end
  local scheme, authority, path = string_match(target, "^(%a[%w+.-]*)://([^/?#]*)(.*)$")
  if not scheme then
    request.scheme, request.authority, request.path = "", "", target
    return
  end
  request.scheme = string_lower(scheme)
  request.authority = string_match(authority, "@([^@]*)$") or authority
  request.url_host = request.authority
  if path == "" then
    path = request.method == "OPTIONS" and "*" or "/"
  elseif not string_find(path, "^/") then
    path = "/" .. path
  end
  request.path = string_match(path, "^[^#]*")
end

--- Find out where a request leads.  Sets its scheme, authority (as the client wrote it, or the name
-- it hid), path, url_host (of the request line alone), private (some field may be gost's own) and
-- address ("host:port", nil when unusable).
-- @param literal hidden names do not count: what is seen is what the next one will act upon
-- @param connect_port of CONNECT that names none; default: as of all others
function M.read(request, literal, connect_port)
  if request.method == "CONNECT" then
    request.authority = request.target ~= "" and request.target or request.host or ""
    request.url_host = request.authority
  else
    split_uri(request)
  end
  request.private = string_find(request.fields, "[Gg][Oo][Ss][Tt]%-") ~= nil
  if request.private and not literal then
    request.authority = override(request) or request.authority
  end
  if request.authority ~= "" then
    request.address = normalise(request.authority,
      request.method == "CONNECT" and connect_port or DEFAULT_PORT)
  end
end

return M
