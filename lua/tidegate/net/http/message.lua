-- What the HTTP client sends and receives: one request out, one response in.

local base64 = require "tidegate.net.http.base64"
local buffer = require "string.buffer"
local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"

local M = {}

local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$"
local PIECE = 256 * 1024
local TRAILERS_MAX = 16 * 1024
local INTERIM_MAX = 16 -- responses like 100 or 103 before the final one
local FRAMING = { ["content-length"] = true, ["transfer-encoding"] = true, connection = true }

--- May these fields be sent?  @return true | nil, err
function M.check_fields(fields)
  for name, value in pairs(fields) do
    if not tostring(name):find(TOKEN) or tostring(value):find("[%z\r\n]")
      or FRAMING[tostring(name):lower()] then
      return nil, failure.new("invalid", "unusable header field " .. tostring(name))
    end
  end
  return true
end

local function authorization(url, request)
  if request.token and request.token ~= "" then
    return "Bearer " .. request.token
  elseif url.user then
    return "Basic " .. base64.encode(url.user .. ":" .. url.password)
  end
end

-- Does the method usually carry a body, so that an empty one is said to be?
local BODIED = { POST = true, PUT = true, PATCH = true }

--- The bytes of a request, the body included.
-- @param request { method, headers, body, token }
-- @param closing whether the connection ends with it
function M.request(url, request, closing)
  local fields = request.headers or {}
  local names, present = {}, {}
  for name in pairs(fields) do
    names[#names + 1] = name
    present[tostring(name):lower()] = true
  end
  table.sort(names)

  local method = request.method or "GET"
  local lines = { ("%s %s HTTP/1.1\r\n"):format(method, url.path) }
  if not present.host then
    lines[#lines + 1] = ("Host: %s\r\n"):format(url.authority)
  end
  if not present["user-agent"] then
    lines[#lines + 1] = "User-Agent: tidegate\r\n"
  end
  for _, name in ipairs(names) do
    lines[#lines + 1] = ("%s: %s\r\n"):format(name, fields[name])
  end
  local credentials = not present.authorization and authorization(url, request)
  if credentials then
    lines[#lines + 1] = ("Authorization: %s\r\n"):format(credentials)
  end
  if request.body or BODIED[method] then
    lines[#lines + 1] = ("Content-Length: %d\r\n"):format(#(request.body or ""))
  end
  lines[#lines + 1] = closing and "Connection: close\r\n\r\n" or "\r\n"
  lines[#lines + 1] = request.body
  return table.concat(lines)
end

--- Receive the head of the final response.
-- @return head, as of tidegate.net.http.head | nil, err
function M.receive(stream)
  for _ = 0, INTERIM_MAX do
    local response, err = head.response(stream)
    if not response or response.status >= 200 then
      return response, err
    elseif response.status == 101 then
      return nil, failure.new("protocol", "an upgrade was not asked for", { layer = "http" })
    end
  end
  return nil, failure.new("limit", "too many interim responses", { layer = "http" })
end

local function too_long()
  return nil, failure.new("limit", "the response is too long", { layer = "http", op = "body" })
end

local function malformed(what)
  return nil, failure.new("protocol", "malformed " .. what, { layer = "http", op = "body" })
end

local function cut_off(err)
  if err.code == "eof" then
    return nil, failure.new("eof", "the response was cut off", { layer = "http", op = "body" })
  end
  return nil, err
end

-- @return true: `size` bytes went into `out` | nil, err
local function read_into(out, stream, size)
  while size > 0 do
    local piece, err = stream:read(math.min(size, PIECE))
    if not piece then
      return cut_off(err)
    end
    out:put(piece)
    size = size - #piece
  end
  return true
end

-- Fields after the last chunk; nobody asks for them.
local function skip_trailers(stream)
  local left = TRAILERS_MAX
  while true do
    local line, err = stream:read_until("\r\n", left)
    if not line then
      return cut_off(err)
    elseif line == "\r\n" then
      return true
    end
    left = left - #line
    if left < 2 or not line:find("^[^%c: ]+:[^%z\r\n]*\r\n$") then
      return malformed "trailer"
    end
  end
end

local function read_chunked(stream, limit)
  local out = buffer.new()
  while true do
    local line, err = stream:read_until("\r\n", 4096)
    if not line then
      return cut_off(err)
    end
    local digits = line:match("^(%x+)[ \t]*\r\n$") or line:match("^(%x+)[ \t]*;[^%z\r\n]*\r\n$")
    local size = digits and #digits <= 12 and tonumber(digits, 16)
    if not size then
      return malformed "chunk"
    elseif size == 0 then
      local ok
      ok, err = skip_trailers(stream)
      return ok and out:tostring(), err
    elseif #out + size > limit then
      return too_long()
    end
    local ok
    ok, err = read_into(out, stream, size)
    if not ok then
      return nil, err
    end
    local tail
    tail, err = stream:read_exact(2)
    if not tail then
      return cut_off(err)
    elseif tail ~= "\r\n" then
      return malformed "chunk"
    end
  end
end

local function read_to_end(stream, limit)
  local out = buffer.new()
  while true do
    local bytes, err = stream:read()
    if not bytes then
      if err.code ~= "eof" then
        return nil, err
      end
      return out:tostring()
    elseif #out + #bytes > limit then
      return too_long()
    end
    out:put(bytes)
  end
end

--- Read a whole body.
-- @param framing as of head.response_framing()
-- @param limit bytes
-- @return bytes | nil, err
function M.body(stream, framing, limit)
  if framing == "chunked" then
    return read_chunked(stream, limit)
  elseif framing == "close" then
    return read_to_end(stream, limit)
  elseif framing > limit then
    return too_long()
  end
  local out = buffer.new()
  local ok, err = read_into(out, stream, framing)
  return ok and out:tostring(), err
end

return M
