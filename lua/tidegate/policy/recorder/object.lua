-- The JSON text of a connection's record: gost's keys in gost's order, written as Go writes them.

local ffi = require "ffi"
local header = require "tidegate.net.http.header"
local http1 = require "tidegate.native.http1"
local native = require "tidegate.native.logline"

ffi.cdef [[
int EVP_EncodeBlock(unsigned char *out, const unsigned char *in, int len);
]]

local C = ffi.C
local M = {}

local to_members, to_object = native.members, native.object

-- What objects consist of: keys, and how each is written: "s" always, "n" a number, "o" left out when empty
-- or zero, "v" left out when nil (tidegate.native.logline); what has a longer
-- name is converted before.
local ALWAYS = { bool = true, bytes = true, header = true, message = true } -- even nil

local function shape(list)
  local keys, names, marks, convert = {}, {}, {}, {}
  for i, item in ipairs(list) do
    local key, mark = item:match "^(%S+) (%S+)$"
    keys[i], names[i] = key, (',"%s":\0'):format(key)
    marks[i] = #mark == 1 and mark or "v"
    if #mark > 1 then
      convert[#convert + 1] = { key, mark, ALWAYS[mark] }
    end
  end
  return { keys = keys, names = table.concat(names), marks = table.concat(marks), convert = convert }
end

-- Of a connection, first what is known before its end.
local HEAD = shape {
  "node o", "service s", "labels map", "network s", "remote s", "local s", "client s", "src s", "dst s", "host s",
  "proto o", "clientIP s", "clientID o", "http object", "websocket object", "tls object", "dns object", "redis object",
  "route o",
}
local TAIL = shape { "inputBytes n", "outputBytes n", "redirect o", "err o", "sid s", "duration n", "time s" }

local MESSAGE = shape { "contentLength n", "header header", "body bytes" }

local SHAPES = {
  http = shape {
    "host s", "method s", "proto s", "scheme s", "uri s", "cached bool", "statusCode n", "request message",
    "response message", "originalHost o", "originalUri o", "originalRequest message?", "originalResponse message?",
  },
  websocket = shape {
    "from s", "fin bool", "rsv1 bool", "rsv2 bool", "rsv3 bool", "opcode n", "masked bool", "maskKey n", "length n",
    "payload bytes",
  },
  tls = shape {
    "serverName s", "compressionMethod n", "proto s", "version s", "cipherSuite s", "clientHello s", "serverHello s",
  },
  dns = shape { "id n", "name s", "class s", "type s", "question s", "answer s", "cached bool" },
  redis = shape { "command s", "key s" },
}

local function quote(value)
  return to_object(",\0", "v", "", value):sub(2, -2) -- without the braces
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

--- Any plain value as JSON, the keys of objects in order, as Go's encoder has them.
M.any = any_text

-- "x-case" → "X-Case"; what is no token is left as it came.
local function canonical(name)
  return name:find("[^%w!#$%%&'*+%-.^_`|~]") and name or header.canonical(name)
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

local write

-- What C is to write: a number, boolean or text, in a table JSON text as it is.
local CONVERTERS = {
  bool = function(value)
    return value and true or false
  end,
  bytes = function(value)
    return { value and value ~= "" and '"' .. base64(value) .. '"' or "null" }
  end,
  map = function(value)
    return next(value) ~= nil and { any_text(value) } or nil
  end,
  header = function(value)
    return { value and (next(value) ~= nil and any_text(value) or "{}") or "null" }
  end,
  message = function(value)
    return { write(MESSAGE, value or {}) }
  end,
  ["message?"] = function(value)
    return { write(MESSAGE, value) }
  end,
  object = function(value, key)
    return { write(SHAPES[key], value) }
  end,
}

local function convert(what, values)
  for i = 1, #what.convert do
    local key, form, always = unpack(what.convert[i])
    local value = values[key]
    if value ~= nil or always then
      values[key] = CONVERTERS[form](value, key)
    end
  end
  return values
end

write = function(what, values)
  local copy, list = {}, {}
  for key, value in pairs(values) do
    copy[key] = value
  end
  convert(what, copy)
  for i, key in ipairs(what.keys) do
    list[i] = copy[key]
  end
  return to_object(what.names, what.marks, "", unpack(list, 1, #what.keys))
end

local HEAD_NAMES, HEAD_MARKS, TAIL_NAMES, TAIL_MARKS = HEAD.names, HEAD.marks, TAIL.names, TAIL.marks
local FIRST = shape { "node o", "service s", "labels map" }

--- The members that are the same for all connections through a node: what relay.record() goes on from.
function M.first(node, service, labels)
  return to_members(FIRST.names, FIRST.marks, node, service, labels and CONVERTERS.map(labels))
end

--- What the record of a connection begins with, of which nothing but its addresses is known.
-- @return for finish()
function M.plain_head(node, service, labels, network, remote, near, client, src, dst, host, proto, user, route)
  return to_members(HEAD_NAMES, HEAD_MARKS, node, service, labels and CONVERTERS.map(labels), network, remote, near,
    client, src, dst, host, proto, nil, user, nil, nil, nil, nil, nil, route)
end

--- What a record begins with.
-- @param values by key: bodies and payloads as bytes, headers as header() makes them; what is no plain value is
--   replaced
-- @return for finish()
function M.head(values)
  local v = convert(HEAD, values)
  return to_members(HEAD_NAMES, HEAD_MARKS, v.node, v.service, v.labels, v.network, v.remote, v["local"], v.client,
    v.src, v.dst, v.host, v.proto, v.clientIP, v.clientID, v.http, v.websocket, v.tls, v.dns, v.redis, v.route)
end

--- A whole record.
-- @param duration in nanoseconds
-- @return the JSON text
function M.finish(head, up, down, redirect, err, sid, duration, time)
  return to_object(TAIL_NAMES, TAIL_MARKS, head, up, down, redirect, err, sid, duration, time)
end

--- Head and end at once, all by key.
function M.json(values)
  return M.finish(M.head(values), values.inputBytes, values.outputBytes, values.redirect, values.err, values.sid,
    values.duration, values.time)
end

return M
