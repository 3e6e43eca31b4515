-- Log lines in gost's two forms: JSON, and key=value text as Go's slog writes it.

local ffi = require "ffi"
local duration = require "tidegate.config.duration"

local string_byte = string.byte
local string_find = string.find
local string_format = string.format
local string_gsub = string.gsub
local table_concat = table.concat
local floor = math.floor

local M = {}

-- Bytes of one character of valid UTF-8 at `at`, or nil.
local function utf8_length(text, at)
  local a, b, c, d = string_byte(text, at, at + 3)
  local function tail(x)
    return x and x >= 0x80 and x < 0xc0
  end
  if a < 0x80 then
    return 1
  elseif a >= 0xc2 and a < 0xe0 then
    return tail(b) and 2 or nil
  elseif a >= 0xe0 and a < 0xf0 then
    local well = tail(b) and tail(c) and not (a == 0xe0 and b < 0xa0) and not (a == 0xed and b >= 0xa0)
    return well and 3 or nil
  elseif a >= 0xf0 and a < 0xf5 then
    local well = tail(b) and tail(c) and tail(d) and not (a == 0xf0 and b < 0x90)
      and not (a == 0xf4 and b >= 0x90)
    return well and 4 or nil
  end
  return nil
end

-- Replace what is not UTF-8.  @return the text, whether something was replaced
local function clean(text, replace)
  local out, at, dirty = {}, 1, false
  while at <= #text do
    local length = utf8_length(text, at)
    if length then
      out[#out + 1] = text:sub(at, at + length - 1)
    else
      out[#out + 1] = replace(string_byte(text, at))
      dirty = true
    end
    at = at + (length or 1)
  end
  return table_concat(out), dirty
end

local JSON_ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function json_escape(char)
  return JSON_ESCAPES[char] or string_format("\\u%04x", string_byte(char))
end

local function json_replacement()
  return "\239\191\189" -- U+FFFD
end

local function json_string(text)
  if not string_find(text, '[%c"\\\128-\255]') then
    return '"' .. text .. '"'
  end
  if string_find(text, "[\128-\255]") then
    text = clean(text, json_replacement)
  end
  if string_find(text, '[%c"\\]') then
    text = string_gsub(text, '[%z\1-\31"\\]', json_escape)
  end
  return '"' .. text .. '"'
end

local function number(value)
  if value == floor(value) and value > -2 ^ 53 and value < 2 ^ 53 then
    return string_format("%d", value)
  end
  return string_format("%.14g", value)
end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = tostring(key)
  end
  table.sort(keys)
  return keys
end

-- Durations are fields called "duration": seconds here, nanoseconds in JSON, "1.5s" in text.
local function json_value(value, key)
  local kind = type(value)
  if kind == "string" then
    return json_string(value)
  elseif kind == "number" then
    return number(key == "duration" and duration.nanoseconds(value) or value)
  elseif kind == "boolean" then
    return value and "true" or "false"
  elseif kind ~= "table" or getmetatable(value) then
    return json_string(tostring(value))
  end

  local out = {}
  if value[1] ~= nil then
    for i = 1, #value do
      out[i] = json_value(value[i])
    end
    return "[" .. table_concat(out, ",") .. "]"
  end
  for i, name in ipairs(sorted_keys(value)) do
    out[i] = json_string(name) .. ":" .. json_value(value[name])
  end
  return "{" .. table_concat(out, ",") .. "}"
end

local TEXT_ESCAPES = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\a"] = "\\a", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n",
  ["\r"] = "\\r", ["\t"] = "\\t", ["\v"] = "\\v",
}

local function text_escape(char)
  return TEXT_ESCAPES[char] or string_format("\\x%02x", string_byte(char))
end

local function hex_escape(byte)
  return string_format("\\x%02x", byte)
end

local function text_string(text)
  if text ~= "" and not string_find(text, '[%z\1- ="\127-\255]') then
    return text
  end
  local quote = text == "" or string_find(text, '[%z\1- ="\127]') ~= nil
  local escaped, dirty = text, false
  if quote or string_find(text, "[\128-\255]") then
    escaped, dirty = string_gsub(text, '[%z\1-\31\127"\\]', text_escape), false
    if string_find(text, "[\128-\255]") then
      escaped, dirty = clean(escaped, hex_escape)
    end
  end
  if quote or dirty then
    return '"' .. escaped .. '"'
  end
  return text
end

local function text_value(value, key)
  local kind = type(value)
  if kind == "string" then
    return text_string(value)
  elseif kind == "number" then
    return key == "duration" and duration.format(value) or number(value)
  elseif kind == "boolean" then
    return value and "true" or "false"
  elseif kind ~= "table" or getmetatable(value) then
    return text_string(tostring(value))
  end

  local out = {}
  if value[1] ~= nil then
    for i = 1, #value do
      out[i] = tostring(value[i])
    end
    return text_string("[" .. table_concat(out, " ") .. "]")
  end
  for i, name in ipairs(sorted_keys(value)) do
    out[i] = name .. ":" .. tostring(value[name])
  end
  return text_string("map[" .. table_concat(out, " ") .. "]")
end

ffi.cdef [[
struct tidegate_timespec { long sec; long nsec; };
int clock_gettime(int id, struct tidegate_timespec *t);
]]

local C = ffi.C
local clock = ffi.new "struct tidegate_timespec"
local CLOCK_REALTIME = 0

local stamped, stamp, zone -- the second last written, its text, the zone's text

--- @return the time in RFC 3339 with milliseconds, local zone
function M.time()
  C.clock_gettime(CLOCK_REALTIME, clock)
  local second = tonumber(clock.sec)
  if second ~= stamped then
    stamped = second
    stamp = os.date("%Y-%m-%dT%H:%M:%S.", second)
    local offset = os.date("%z", second)
    zone = offset == "+0000" and "Z" or offset:sub(1, 3) .. ":" .. offset:sub(4)
  end
  return stamp .. string_format("%03d", floor(tonumber(clock.nsec) / 1e6)) .. zone
end

M.json = {
  --- Write a field so that lines are made by joining fields.
  field = function(key, value)
    return "," .. json_string(key) .. ":" .. json_value(value, key)
  end,
  line = function(time, level, message, before, after)
    return '{"time":"' .. time .. '","level":"' .. level .. '","msg":' .. json_string(message)
      .. before .. after .. "}\n"
  end,
}

M.text = {
  field = function(key, value)
    return " " .. text_string(key) .. "=" .. text_value(value, key)
  end,
  line = function(time, level, message, before, after)
    return "time=" .. time .. " level=" .. level .. " msg=" .. text_string(message) .. before .. after
      .. "\n"
  end,
}

return M
