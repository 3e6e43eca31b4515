-- The handshake of a WebSocket (RFC 6455 4), both ends, as gost makes it.

local base64 = require "tidegate.net.http.base64"
local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"
local header = require "tidegate.net.http.header"
local http1 = require "tidegate.native.http1"
local native = require "tidegate.native.ws"
local path = require "tidegate.net.ws.path"

local M = {}

local DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
local OURS = {
  upgrade = true, connection = true, ["sec-websocket-key"] = true, ["sec-websocket-version"] = true,
  ["sec-websocket-extensions"] = true,
}
local KEY_BYTES = 16
local REASONS = {
  [307] = "Temporary Redirect", [400] = "Bad Request", [404] = "Not Found", [405] = "Method Not Allowed",
}

local function wrong(message)
  return failure.new("protocol", message, { layer = "websocket", op = "handshake" })
end

--- Look through a configured map of header fields.  @return { name, value } pairs sorted by name | nil, err
function M.fields(map)
  return header.configured(map, OURS)
end

-- The client ----------------------------------------------------------------------------------------

--- Put together what every request of a client has.
-- @param options { host =, path =, header = map or nil, compress = }
-- @return request | nil, err
function M.request(options)
  local fields, err = M.fields(options.header)
  if not fields then
    return nil, err
  end
  local host, agent, others = header.client(fields, options.host)
  local key = { "Sec-WebSocket-Key", "" }
  for _, field in ipairs {
    { "Connection", "Upgrade" }, key, { "Sec-WebSocket-Version", "13" }, { "Upgrade", "websocket" },
  } do
    others[#others + 1] = field
  end
  if options.compress then
    others[#others + 1] = { "Sec-WebSocket-Extensions", DEFLATE }
  end
  header.sort(others)
  table.insert(others, 1, { "User-Agent", agent })
  table.insert(others, 1, { "Host", host })
  local request = { line = ("GET %s HTTP/1.1"):format(path.escape(options.path)), fields = others, key = key }
  local ok
  ok, err = http1.encode(request.line, others) -- once, to see whether it can be written
  return ok and request, err
end

-- Did the server agree on compression?  @return bool | nil, err
local function agreed(response, compress)
  local extensions = head.get(response, "sec-websocket-extensions")
  if not extensions or extensions == "" then
    return false
  end
  local lower = extensions:lower()
  if not compress or not lower:find("^%s*permessage%-deflate") or lower:find(",", 1, true) then
    return nil, wrong("the server uses an extension that was not offered: " .. extensions)
  elseif not (lower:find("server_no_context_takeover", 1, true)
      and lower:find("client_no_context_takeover", 1, true)) then
    return nil, wrong("the server wants compression across messages")
  end
  return true
end

local function check(response, key)
  local status = response.status
  if status ~= 101 then
    return nil, wrong(("the server answers %d %s; path or host may differ"):format(status, response.reason))
  elseif not head.has_token(head.get(response, "upgrade") or "", "websocket")
    or not head.has_token(response.connection or "", "upgrade") then
    return nil, wrong("the server does not switch to WebSocket")
  elseif head.get(response, "sec-websocket-accept") ~= native.accept(key) then
    return nil, wrong("the server's answer does not fit the key")
  end
  return true
end

--- Shake hands as the client.
-- @param request of M.request()
-- @param options { compress =, keepalive = seconds or nil }
-- @return stream; the one given is used up | nil, err
function M.connect(stream, request, options, deadline)
  local key = native.key()
  request.key[2] = key
  stream:set_deadline(deadline)
  local ok, err = stream:write(http1.encode(request.line, request.fields))
  if not ok then
    return nil, err:during "websocket handshake"
  end
  local response
  response, err = head.response(stream)
  if not response then
    return nil, err:during "websocket handshake"
  end
  ok, err = check(response, key)
  if not ok then
    return nil, err
  end
  local packed
  packed, err = agreed(response, options.compress)
  if err then
    return nil, err
  end
  stream:set_deadline(nil)
  return native.client(stream, { packed = packed, keepalive = options.keepalive })
end

-- The server ----------------------------------------------------------------------------------------

-- As Go's server: what somebody sees who looks for a proxy.
local function refuse(stream, status, field, body)
  local text = body or REASONS[status] .. "\n"
  local lines = {
    { "Content-Type", status == 307 and "text/html; charset=utf-8" or "text/plain; charset=utf-8" },
  }
  lines[#lines + 1] = field
  if status ~= 307 then
    lines[#lines + 1] = { "X-Content-Type-Options", "nosniff" }
  end
  lines[#lines + 1] = { "Date", header.date() }
  lines[#lines + 1] = { "Content-Length", tostring(#text) }
  lines[#lines + 1] = { "Connection", "close" }
  stream:write(http1.encode(("HTTP/1.1 %d %s"):format(status, REASONS[status]), lines), text)
  stream:shutdown()
end

-- What is wrong with a request for this path.  @return status, field, body; or nil: nothing
local function fault_of(request, pattern)
  local status, location = path.match(pattern, request.method, request.host or "", request.target)
  if status == 307 then
    return 307, { "Location", location }, ('<a href="%s">Temporary Redirect</a>.\n\n'):format(location)
  elseif status ~= 200 then
    return status, nil, "404 page not found\n"
  end
  local version = { "Sec-Websocket-Version", "13" }
  local key = head.get(request, "sec-websocket-key")
  key = key and base64.decode(key)
  if not head.has_token(request.connection or "", "upgrade")
    or not head.has_token(head.get(request, "upgrade") or "", "websocket") then
    return 400, version
  elseif request.method ~= "GET" then
    return 405, version
  elseif not head.has_token(head.get(request, "sec-websocket-version") or "", "13")
    or not key or #key ~= KEY_BYTES then
    return 400, version
  end
end

--- Shake hands as the server; who asks for something else gets the answer gost's server has for it.
-- @param options { path = pattern of path.parse(), fields = of M.fields(), compress = }
-- @return stream; the one given is used up, request | nil, err
function M.accept(stream, options, deadline)
  stream:set_deadline(deadline)
  local request, err = head.request(stream)
  if not request then
    if err.code == "protocol" or err.code == "limit" then
      refuse(stream, 400, nil, "400 Bad Request")
    end
    return nil, err:during "websocket handshake"
  end
  local status, field, body = fault_of(request, options.path)
  if status then
    refuse(stream, status, field, body)
    return nil, wrong(("%s %s is answered %d"):format(request.method, request.target, status))
  end
  local offered = (head.get(request, "sec-websocket-extensions") or ""):lower()
  local packed = options.compress and offered:find("permessage%-deflate") ~= nil
  local lines = {
    { "Upgrade", "websocket" },
    { "Connection", "Upgrade" },
    { "Sec-WebSocket-Accept", native.accept(head.get(request, "sec-websocket-key")) },
  }
  if packed then
    lines[#lines + 1] = { "Sec-WebSocket-Extensions", DEFLATE }
  end
  for _, own in ipairs(options.fields) do
    lines[#lines + 1] = own
  end
  local ok
  ok, err = stream:write(http1.encode("HTTP/1.1 101 Switching Protocols", lines))
  if not ok then
    return nil, err:during "websocket handshake"
  end
  stream:set_deadline(nil)
  return native.server(stream, { packed = packed }), request
end

return M
