-- Where a name server is and how it is spoken to: "1.1.1.1", "tcp://dns.example:5353",
-- "tls://9.9.9.9", "https://dns.example/dns-query", "system".

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"

local M = {}

local TRANSPORTS = { udp = "udp", tcp = "tcp", tls = "tls", dot = "tls", https = "https" }
local PORTS = { udp = 53, tcp = 53, tls = 853, https = 443 }

--- What asks the operating system instead.
M.SYSTEM = "system"

local function bad(text)
  return nil, failure.new("config", ("%q is no address of a name server"):format(text))
end

--- Take an address apart.
-- @return { text, transport = "udp", "tcp", "tls", "https" or "system", host, port, authority (the host as
-- it stands in a URL), path, guessed = the port is the transport's default, unknown = the scheme, when
-- it is none we know and UDP is spoken instead } | nil, err
function M.parse(text)
  text = text:match "^%s*(.-)%s*$"
  if text:lower() == M.SYSTEM then
    return { text = M.SYSTEM, transport = M.SYSTEM }
  end
  local scheme, rest = text:match "^([%w+.-]+)://(.*)$"
  scheme, rest = (scheme or "udp"):lower(), rest or text
  local authority, path = rest:match "^([^/?#]*)(.*)$"
  local transport = TRANSPORTS[scheme] or "udp"

  local host, port = addr.split(authority)
  if host == "" or host:find "[%s%c@%[%]]" or port and (port < 1 or port > 65535) then
    return bad(text)
  elseif host:find(":", 1, true) and not addr.is_ip(host) then
    return bad(text)
  end
  return {
    text = text,
    transport = transport,
    host = host,
    port = port or PORTS[transport],
    authority = authority,
    path = path ~= "" and path or "/",
    guessed = port == nil,
    unknown = not TRANSPORTS[scheme] and scheme or nil,
  }
end

return M
