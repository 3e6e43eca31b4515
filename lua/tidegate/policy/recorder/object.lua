-- The JSON text of a connection's record: gost's keys in gost's order, written as Go writes them.

local ffi = require "ffi"
local http1 = require "tidegate.native.http1"
local native = require "tidegate.native.logline"

ffi.cdef [[
int EVP_EncodeBlock(unsigned char *out, const unsigned char *in, int len);
]]

local C = ffi.C
local M = {}

local to_json = native.object

-- Key, then what it is: "" always there, "o" left out when empty or zero.
local RECORD = {
  { "node", "o" }, { "service", "" }, { "labels", "map" }, { "network", "" }, { "remote", "" }, { "local", "" },
  { "client", "" }, { "src", "" }, { "dst", "" }, { "host", "" }, { "proto", "o" }, { "clientIP", "" },
  { "clientID", "o" }, { "http", "http" }, { "websocket", "websocket" }, { "tls", "tls" }, { "dns", "dns" },
  { "redis", "redis" }, { "route", "o" }, { "inputBytes", "n" }, { "outputBytes", "n" }, { "redirect", "o" },
  { "err", "o" }, { "sid", "" }, { "duration", "n" }, { "time", "" },
}

local MESSAGE = { { "contentLength", "n" }, { "header", "header" }, { "body", "bytes" } }

local SHAPES = {
  message = MESSAGE,
  http = {
    { "host", "" }, { "method", "" }, { "proto", "" }, { "scheme", "" }, { "uri", "" }, { "cached", "b" },
    { "statusCode", "n" }, { "request", "message" }, { "response", "message" }, { "originalHost", "o" },
    { "originalUri", "o" }, { "originalRequest", "message?" }, { "originalResponse", "message?" },
  },
  websocket = {
    { "from", "" }, { "fin", "b" }, { "rsv1", "b" }, { "rsv2", "b" }, { "rsv3", "b" }, { "opcode", "n" },
    { "masked", "b" }, { "maskKey", "n" }, { "length", "n" }, { "payload", "bytes" },
  },
  tls = {
    { "serverName", "" }, { "compressionMethod", "n" }, { "proto", "" }, { "version", "" }, { "cipherSuite", "" },
    { "clientHello", "" }, { "serverHello", "" },
  },
  dns = {
    { "id", "n" }, { "name", "" }, { "class", "" }, { "type", "" }, { "question", "" }, { "answer", "" },
    { "cached", "b" },
  },
  redis = { { "command", "" }, { "key", "" } },
}

local function quote(value)
  return to_json({ "", value }):sub(5, -2) -- without {"":}
end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  return keys
end

local function any_text(value)
  if type(value) == "table" then
    local parts = {}
    if value[1] ~= nil then
      for i = 1, #value do
        parts[i] = any_text(value[i])
      end
      return "[" .. table.concat(parts, ",") .. "]"
    end
    for i, key in ipairs(sorted_keys(value)) do
      parts[i] = quote(tostring(key)) .. ":" .. any_text(value[key])
    end
    return "{" .. table.concat(parts, ",") .. "}"
  elseif type(value) == "string" or type(value) == "boolean" or type(value) == "number" then
    return quote(value)
  end
  return quote(tostring(value))
end

-- "x-case" → "X-Case", as Go's http package spells names.
local function canonical(name)
  if name:find("[^%w!#$%%&'*+%-.^_`|~]") then
    return name
  end
  return (name:lower():gsub("^%l", string.upper):gsub("%-%l", string.upper))
end

-- Not recorded: what Go keeps elsewhere, what was meant for the proxy alone, credentials for the proxy.
local HIDDEN = { Host = true, ["Proxy-Authorization"] = true, ["Gost-Record"] = true }

--- The header object of the field lines of a head (or the head): name → list of values.
function M.header(fields)
  local names = {}
  for _, field in ipairs(http1.pairs(fields)) do
    local name = canonical(field[1])
    if not HIDDEN[name] then
      names[name] = names[name] or {}
      table.insert(names[name], field[2])
    end
  end
  return names
end

-- Bodies may be a megabyte long: not in Lua.
local function base64(bytes)
  local out = ffi.new("unsigned char[?]", math.ceil(#bytes / 3) * 4 + 1)
  return ffi.string(out, C.EVP_EncodeBlock(out, bytes, #bytes))
end

-- What becomes of a value, for C: plain, or JSON text in a table.
local write

local WRITERS = {
  [""] = function(value)
    return value == nil and "" or tostring(value)
  end,
  o = function(value)
    if value == nil or value == "" or value == 0 then
      return nil
    end
    return tostring(value)
  end,
  n = function(value)
    return value or 0
  end,
  b = function(value)
    return value and true or false
  end,
  bytes = function(value)
    return { value and value ~= "" and '"' .. base64(value) .. '"' or "null" }
  end,
  map = function(value)
    return value and next(value) ~= nil and { any_text(value) } or nil
  end,
  header = function(value)
    return { value and (next(value) ~= nil and any_text(value) or "{}") or "null" }
  end,
  message = function(value)
    return { write(MESSAGE, value or {}) }
  end,
}

write = function(shape, values)
  local list, count = {}, 0
  for i = 1, #shape do
    local key, form = shape[i][1], shape[i][2]
    local writer, value = WRITERS[form], values[key]
    if writer then
      value = writer(value)
    elseif value ~= nil then
      value = { write(SHAPES[form] or MESSAGE, value) }
    end
    if value ~= nil then
      list[count + 1], list[count + 2] = key, value
      count = count + 2
    end
  end
  return to_json(list)
end

--- @param values by key: duration in nanoseconds, bodies and payloads as bytes, headers as header() makes them
-- @return the JSON text
function M.json(values)
  return write(RECORD, values)
end

return M
