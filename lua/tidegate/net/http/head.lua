-- Heads of HTTP/1.x messages: received strictly, looked into, written anew.
--
-- A head keeps its field lines as one string; a field is looked up when somebody asks.  What two
-- parsers could read differently (RFC 9112 section 11) is refused, never repaired.

local failure = require "tidegate.failure"

local string_find = string.find
local string_lower = string.lower
local string_match = string.match
local string_sub = string.sub

local M = {}

--- Longest head in bytes.
M.LIMIT = 65536

local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$"
local LINE = "^([%w!#$%%&'*+%-.^_`|~]+):([^%z\1-\8\10-\31\127]*)\r\n()"
local STATUS_LINE = "^HTTP/1%.([01]) (%d%d%d) ?([^%z\1-\8\10-\31\127]*)\r\n$"
local LENGTH_DIGITS_MAX = 15

local function broken(what)
  return nil, failure.new("protocol", what, { layer = "http", op = "head" })
end

-- The value without blanks around it.
local function trim(value)
  return string_match(value, "^[ \t]*(.-)[ \t]*$")
end

--- Does a list field ("close, Upgrade") hold a token?  Both in any case.
function M.has_token(value, token)
  for item in (value or ""):gmatch("[^,%s]+") do
    if string_lower(item) == token then
      return true
    end
  end
  return false
end

--- The value of a field (all of them joined by ", "), or nil.
-- @param name in lower case
function M.get(head, name)
  local lower = head.lower
  if not lower then
    lower = "\n" .. string_lower(head.fields)
    head.lower = lower
  end
  local key = "\n" .. name .. ":"
  local _, at = string_find(lower, key, 1, true)
  if not at then
    return nil
  end
  local value = string_match(head.fields, "^[ \t]*(.-)[ \t]*\r\n", at)
  _, at = string_find(lower, key, at, true)
  while at do
    value = value .. ", " .. string_match(head.fields, "^[ \t]*(.-)[ \t]*\r\n", at)
    _, at = string_find(lower, key, at, true)
  end
  return value
end

-- Content-Length: digits, repeated only identically.
local function read_length(head, value)
  value = trim(value)
  if not string_find(value, "^%d+$") or #value > LENGTH_DIGITS_MAX then
    return broken("malformed Content-Length")
  end
  local length = tonumber(value)
  if head.length and head.length ~= length then
    return broken("two lengths that differ")
  end
  head.length = length
  return true
end

local function read_coding(head, value)
  if head.chunked or string_lower(trim(value)) ~= "chunked" then
    return broken("transfer coding other than chunked")
  end
  head.chunked = true
  return true
end

local function read_host(head, value)
  if head.host then
    return broken("more than one Host")
  end
  head.host = trim(value)
  return true
end

local function read_connection(head, value)
  value = trim(value)
  head.connection = head.connection and head.connection .. "," .. value or value
  return true
end

local readers = {
  ["content-length"] = read_length,
  ["transfer-encoding"] = read_coding,
  host = read_host,
  connection = read_connection,
}

-- Check every line and keep what framing depends on.
local function read_fields(head)
  local fields, at = head.fields, 1
  while at <= #fields do
    local name, value, next_at = string_match(fields, LINE, at)
    if not name then
      return broken("malformed field line")
    end
    local reader = readers[string_lower(name)]
    if reader then
      local ok, err = reader(head, value)
      if not ok then
        return nil, err
      end
    end
    at = next_at
  end
  if head.chunked and head.length then
    return broken("both Content-Length and Transfer-Encoding")
  end
  if head.chunked and head.minor == 0 then
    return broken("Transfer-Encoding in HTTP/1.0")
  end
  return true
end

local function persistent(head)
  if head.minor == 0 then
    return M.has_token(head.connection or M.get(head, "proxy-connection"), "keep-alive")
  end
  return not M.has_token(head.connection, "close")
end

-- Read up to the empty line; empty lines in front are skipped (RFC 9112 2.2).
local function read_head(stream)
  for _ = 1, 4 do
    local bytes, err = stream:read_until("\r\n", M.LIMIT)
    if not bytes then
      return nil, err
    elseif bytes ~= "\r\n" then
      local rest
      if string_find(bytes, "\n", 1, true) ~= #bytes then
        return broken("line feed alone")
      end
      rest, err = stream:peek(2)
      if not rest then
        return nil, err
      elseif string_sub(rest, 1, 2) == "\r\n" then
        stream:read_exact(2)
        return bytes, ""
      end
      rest, err = stream:read_until("\r\n\r\n", M.LIMIT - #bytes)
      return rest and bytes, rest and string_sub(rest, 1, -3) or err
    end
  end
  return broken("empty lines")
end

--- Receive the head of a request.
-- @return { method, target, minor, fields, length, chunked, host, connection, persistent }
-- | nil, err
function M.request(stream)
  local line, fields = read_head(stream)
  if not line then
    return nil, fields
  end
  local method, target, minor = string_match(line, "^(%S+) ([^%c ]*) HTTP/1%.([01])\r\n$")
  if not method or not string_find(method, TOKEN) then
    return broken("malformed request line")
  end
  local head = {
    method = method,
    target = target,
    minor = minor == "1" and 1 or 0,
    fields = fields,
  }
  local ok, err = read_fields(head)
  if not ok then
    return nil, err
  end
  head.persistent = persistent(head)
  return head
end

--- How the body of a request is framed.  @return length or "chunked"
function M.request_framing(head)
  return head.chunked and "chunked" or head.length or 0
end

--- Receive the head of a response.
-- @return { status, reason, minor, fields, length, chunked, connection, persistent } | nil, err
function M.response(stream)
  local line, fields = read_head(stream)
  if not line then
    return nil, fields
  end
  local minor, status, reason = string_match(line, STATUS_LINE)
  if not minor then
    return broken("malformed status line")
  end
  local head = { status = tonumber(status), reason = reason, minor = minor == "1" and 1 or 0,
    fields = fields }
  local ok, err = read_fields(head)
  if not ok then
    return nil, err
  end
  head.persistent = persistent(head)
  return head
end

--- How the body of a response to `method` is framed.
-- @return length, "chunked" or "close"
function M.response_framing(head, method)
  local status = head.status
  if method == "HEAD" or status < 200 or status == 204 or status == 304 then
    return 0
  end
  return head.chunked and "chunked" or head.length or "close"
end

-- No Connection field takes these away: where the message ends must not change on the way.
local KEPT = { host = true, ["content-length"] = true, ["transfer-encoding"] = true }

--- The field lines of a head, but those whose lower-case name is in `without`, and those which the
-- Connection field names (RFC 9110 7.6.1).
function M.lines(head, without)
  local named = {}
  for item in (head.connection or ""):gmatch("[^,%s]+") do
    named[string_lower(item)] = true
  end
  local fields, kept, at = head.fields, {}, 1
  while at <= #fields do
    local name, _, next_at = string_match(fields, LINE, at)
    name = string_lower(name)
    if not without[name] and (KEPT[name] or not named[name]) then
      kept[#kept + 1] = string_sub(fields, at, next_at - 1)
    end
    at = next_at
  end
  return table.concat(kept)
end

return M
