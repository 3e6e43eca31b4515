-- A small HTTP/1.1 client in coroutine style, for decoys, loaders and scripts.
--
--   local response, err = client.request { url = "http://host/path", deadline = ms }
--   if response then print(response.status, response:read()) response:close() end

local addr = require "tidegate.net.addr"
local base64 = require "tidegate.net.http.base64"
local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"
local native_tls = require "tidegate.native.tls"
local resolve = require "tidegate.net.resolve"
local stream_native = require "tidegate.native.stream"
local tls = require "tidegate.tls"
local url_of = require "tidegate.net.http.url"

local M = {}
local methods = {}
local mt = { __name = "tidegate.http.response", __index = methods }

local VERIFIED = { secure = true }
local READ_LIMIT = 16 * 1024 * 1024
local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$"
local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- Dial by ourselves; `request.dial` may do it another way.
local function dial(url, deadline)
  local ips, err = resolve.lookup(url.host, deadline)
  if not ips then
    return nil, err
  end
  local where = {}
  for i, ip in ipairs(ips) do
    where[i] = addr.join(ip, url.port)
  end
  return stream_native.dial(where, nil, deadline)
end

-- Contexts that were made of TLS settings; those of VERIFIED serve all who bring none.
local contexts = setmetatable({}, { __mode = "k" })

local function encrypt(stream, url, request)
  local settings = request.tls or VERIFIED
  local context, err = contexts[settings], nil
  if not context then
    context, err = tls.client(settings)
    if not context then
      return nil, err
    end
    contexts[settings] = context
  end
  return native_tls.client(stream, context, settings.serverName or url.host, request.deadline)
end

-- @return stream to the URL's host, encrypted for https | nil, err
local function connect(url, request)
  local stream, err = (request.dial or dial)(url, request.deadline)
  if not stream or url.scheme == "http" then
    return stream, err
  end
  local secure
  secure, err = encrypt(stream, url, request)
  if not secure then
    stream:close()
    return nil, err
  end
  return secure
end

local function check_fields(fields)
  for name, value in pairs(fields) do
    if not tostring(name):find(TOKEN) or tostring(value):find("[%z\r\n]") then
      return nil, failure.new("invalid", "unusable header field " .. tostring(name))
    end
  end
  return true
end

local function request_bytes(url, request, fields)
  local names, present = {}, {}
  for name in pairs(fields) do
    names[#names + 1] = name
    present[tostring(name):lower()] = true
  end
  table.sort(names)

  local lines = { ("%s %s HTTP/1.1\r\n"):format(request.method or "GET", url.path) }
  if not present.host then
    lines[#lines + 1] = ("Host: %s\r\n"):format(url.authority)
  end
  if not present["user-agent"] then
    lines[#lines + 1] = "User-Agent: tidegate\r\n"
  end
  for _, name in ipairs(names) do
    lines[#lines + 1] = ("%s: %s\r\n"):format(name, fields[name])
  end
  if url.user and not present.authorization then
    lines[#lines + 1] = ("Authorization: Basic %s\r\n")
      :format(base64.encode(url.user .. ":" .. url.password))
  end
  if request.body then
    lines[#lines + 1] = ("Content-Length: %d\r\n"):format(#request.body)
  end
  lines[#lines + 1] = "Connection: close\r\n\r\n"
  lines[#lines + 1] = request.body
  return table.concat(lines)
end

-- Skip interim responses.
local function receive(stream)
  while true do
    local response, err = head.response(stream)
    if not response or response.status >= 200 then
      return response, err
    elseif response.status == 101 then
      return nil, failure.new("protocol", "an upgrade was not asked for", { layer = "http" })
    end
  end
end

-- One exchange without following redirects.
local function exchange(url, request)
  local fields = request.headers or {}
  local ok, err = check_fields(fields)
  if not ok then
    return nil, err
  end
  local stream
  stream, err = connect(url, request)
  if not stream then
    return nil, err
  end
  stream:set_deadline(request.deadline)
  ok, err = stream:write(request_bytes(url, request, fields))
  local response
  if ok then
    response, err = receive(stream)
  end
  if not response then
    stream:close()
    return nil, err:during("http request", { addr = url.authority })
  end
  return setmetatable({
    status = response.status,
    head = response,
    stream = stream,
    framing = head.response_framing(response, request.method or "GET"),
  }, mt)
end

-- Where to go next, or nil.  What carries a body is not repeated.
local function next_url(url, request, response)
  local location = REDIRECTS[response.status] and not request.body and response:get("location")
  return location and url_of.parse(url_of.resolve(url, location))
end

--- Make a request.
-- @param request { url, method = "GET", headers = {}, body = string, deadline = ms,
--   tls = TLS settings (default: the certificate is verified), redirects = how many to follow (0),
--   dial = function(url, deadline) → stream }
-- @return response with status, stream, framing and methods get(name), read([limit]), close()
-- | nil, err
function M.request(request)
  local url, err = url_of.parse(request.url)
  if not url then
    return nil, err
  end
  for _ = 0, request.redirects or 0 do
    local response
    response, err = exchange(url, request)
    if not response then
      return nil, err
    end
    local onward = (request.redirects or 0) > 0 and next_url(url, request, response)
    if not onward then
      return response
    end
    response:close()
    url = onward
  end
  return nil, failure.new("protocol", "too many redirects", { layer = "http", addr = request.url })
end

--- The value of a header field, or nil; `name` in any case.
function methods:get(name)
  return head.get(self.head, name:lower())
end

local function too_long()
  return nil, failure.new("limit", "the response is too long", { layer = "http" })
end

local function read_chunked(stream, limit)
  local parts, total = {}, 0
  while true do
    local line, err = stream:read_until("\r\n", 4096)
    if not line then
      return nil, err
    end
    local size = tonumber(line:match("^(%x+)[ \t]*[;\r]") or "", 16)
    if not size then
      return nil, failure.new("protocol", "malformed chunk", { layer = "http", op = "body" })
    elseif size == 0 then
      return table.concat(parts)
    elseif total + size > limit then
      return too_long()
    end
    local chunk
    chunk, err = stream:read_exact(size + 2)
    if not chunk then
      return nil, err
    end
    parts[#parts + 1], total = chunk:sub(1, -3), total + size
  end
end

local function read_to_end(stream, limit)
  local parts, total = {}, 0
  while true do
    local bytes, err = stream:read()
    if not bytes then
      if err.code ~= "eof" then
        return nil, err
      end
      return table.concat(parts)
    end
    parts[#parts + 1], total = bytes, total + #bytes
    if total > limit then
      return too_long()
    end
  end
end

--- Read the whole body.  @param limit in bytes, 16 MiB by default  @return bytes | nil, err
function methods:read(limit)
  limit = limit or READ_LIMIT
  if self.framing == "chunked" then
    return read_chunked(self.stream, limit)
  elseif self.framing == "close" then
    return read_to_end(self.stream, limit)
  elseif self.framing > limit then
    return too_long()
  end
  return self.stream:read_exact(self.framing)
end

--- Close the connection; may be repeated.
function methods:close()
  self.stream:close()
end

return M
