-- URLs by the rules of Go's net/url, as far as -L, -F, -api and -metrics need them, and the few
-- address functions that go with them.

local failure = require "tidegate.failure"

local uri = {}

local function invalid(message)
  return failure.new("config", message)
end

local function unescape(text, plus)
  local bad = text:match("%%%X.?") or text:match("%%%x%X") or text:match("%%%x?$")
  if bad then
    return nil, invalid(("invalid URL escape %q"):format(bad))
  end
  if plus then
    text = text:gsub("%+", " ")
  end
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

--- Decode a query.  Of a repeated key the first value counts; pairs that are malformed or contain
-- ";" are dropped.  @return key → value
function uri.query(text)
  local values = {}
  for pair in text:gmatch("[^&]+") do
    if not pair:find(";", 1, true) then
      local key, value = pair:match("^([^=]*)=?(.*)$")
      key, value = unescape(key, true), unescape(value, true)
      if key and value and values[key] == nil then
        values[key] = value
      end
    end
  end
  return values
end

local function parse_userinfo(text)
  if text:find("[^%w%-._:~!$&'()*+,;=%%@]") then
    return nil, invalid("net/url: invalid userinfo")
  end
  local name, password = text:match("^([^:]*):(.*)$")
  local err
  name, err = unescape(name or text)
  if not name then
    return nil, err
  end
  if password then
    password, err = unescape(password)
    if not password then
      return nil, err
    end
  end
  return { username = name, password = password }
end

local function check_host(host)
  if host:sub(1, 1) == "[" then
    local rest = host:match("^%[.*%](.*)$")
    if not rest then
      return invalid("missing ']' in host")
    elseif rest ~= "" and not rest:find("^:%d*$") then
      return invalid(("invalid port %q after host"):format(rest))
    end
  else
    local port = host:match("(:[^:]*)$")
    if port and not port:find("^:%d*$") then
      return invalid(("invalid port %q after host"):format(port))
    end
  end
  local odd = host:match("[%c \"<>\\^`{|}]")
  if odd then
    return invalid(("invalid character %q in host name"):format(odd))
  end
end

-- The path in escaped form: as typed if that is a valid encoding.
local function escape_path(text)
  return (text:gsub("[^%w%-._~!$&'()*+,;=:@/%%%[%]]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

--- Parse a URL.
-- @param lenient whether the host is taken as it is
-- @return { scheme, user = { username, password } or nil, host, path, query = { key → value } }
function uri.parse(text, lenient)
  if text:find("[%z\1-\31\127]") then
    return nil, invalid("net/url: invalid control character in URL")
  end
  local scheme, rest = text:match("^([%a][%w+.-]*):(.*)$")
  if not scheme then
    return nil, invalid(text:sub(1, 1) == ":" and "missing protocol scheme"
      or "first path segment in URL cannot contain colon")
  end
  rest = rest:match("^[^#]*")
  local before, query = rest:match("^([^?]*)%??(.*)$")
  local authority, path = before:match("^//([^/]*)(.*)$")
  if not authority then
    return nil, invalid("no authority")
  end

  local made = { scheme = scheme:lower(), query = uri.query(query) }
  local userinfo, host = authority:match("^(.*)@(.*)$")
  local err
  if userinfo then
    made.user, err = parse_userinfo(userinfo)
    if err then
      return nil, err
    end
  end
  made.host = host or authority
  err = not lenient and check_host(made.host)
  if err then
    return nil, err
  end
  if not lenient then
    made.host, err = unescape(made.host)
    if err then
      return nil, err
    end
  end
  local decoded
  decoded, err = unescape(path)
  if not decoded then
    return nil, err
  end
  made.path = escape_path(path)
  return made
end

--- Split "host:port" as Go's net.SplitHostPort.  @return host, port | nil
function uri.split_host_port(text)
  local host, port = text:match("^%[([^%[%]]*)%]:([^:%[%]]*)$")
  if host then
    return host, port
  end
  return text:match("^([^:%[%]]*):([^:%[%]]*)$")
end

--- @return "host:port", with brackets around an IPv6 address
function uri.join_host_port(host, port)
  if host:find(":", 1, true) then
    return ("[%s]:%s"):format(host, port)
  end
  return ("%s:%s"):format(host, port)
end

--- @return the host of "host:port" without the last port and without brackets
function uri.hostname(host)
  local name = host:match("^(.*):%d*$") or host
  if host:sub(1, 1) == "[" then
    name = host:match("^%[.*%]") or host
  end
  return name:match("^%[(.*)%]$") or name
end

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

--- Decode base64 in its URL-safe form without padding, or its standard form with padding.
-- @return text | nil
function uri.base64(text)
  local body
  if text:find("^[%w_-]*$") and #text % 4 ~= 1 then
    body = text:gsub("-", "+"):gsub("_", "/")
  elseif #text % 4 == 0 and text:find("^[%w+/]*=?=?$") then
    body = text:gsub("=", "")
  else
    return nil
  end
  local bits, count, out = 0, 0, {}
  for char in body:gmatch(".") do
    bits = bits * 64 + ALPHABET:find(char, 1, true) - 1
    count = count + 6
    if count >= 8 then
      count = count - 8
      local byte = math.floor(bits / 2 ^ count)
      out[#out + 1] = string.char(byte)
      bits = bits - byte * 2 ^ count
    end
  end
  return table.concat(out)
end

return uri
