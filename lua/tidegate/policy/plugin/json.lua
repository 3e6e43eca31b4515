-- Messages of plugins as JSON, by the same tables of fields as tidegate.net.protobuf.
--
-- Besides what that knows a field may have `omit` (left out when empty) and `alias` (another name in
-- replies).  Bytes are base64.  As Go does it, names in replies match in any case, and a value of another
-- type is an error.

local base64 = require "tidegate.net.http.base64"
local buffer = require "string.buffer"
local cjson = require "cjson"
local failure = require "tidegate.failure"
local lazy = require "tidegate.lazy"
local records = lazy "tidegate.policy.recorder.object"

local M = {}

local decoder = cjson.new()
decoder.decode_invalid_numbers(false)

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
local REPLACEMENT = "\239\191\189"

local function escape(char)
  return ESCAPES[char] or ("\\u%04x"):format(char:byte())
end

local CONTINUED = "^[\128-\191]+$"

-- The length of a well-formed UTF-8 sequence at a position, or nil.
local function sequence(text, at)
  local lead, second = text:byte(at, at + 1)
  local size = lead < 0xc2 and 0 or lead < 0xe0 and 2 or lead < 0xf0 and 3 or lead < 0xf5 and 4 or 0
  if size == 0 or at + size - 1 > #text or not text:sub(at + 1, at + size - 1):find(CONTINUED)
    or lead == 0xe0 and second < 0xa0 or lead == 0xed and second > 0x9f
    or lead == 0xf0 and second < 0x90 or lead == 0xf4 and second > 0x8f then
    return nil
  end
  return size
end

-- What is no UTF-8 becomes the replacement character.
local function clean(text)
  local out, at = {}, 1
  while at <= #text do
    local plain, stop = text:match("^([%z\1-\127]*)()", at)
    out[#out + 1] = plain
    at = stop
    if at <= #text then
      local size = sequence(text, at)
      out[#out + 1] = size and text:sub(at, at + size - 1) or REPLACEMENT
      at = at + (size or 1)
    end
  end
  return table.concat(out)
end

--- A string as JSON.
function M.quote(text)
  if text:find "[\128-\255]" then
    text = clean(text)
  end
  return '"' .. text:gsub('[%c"\\\127]', escape) .. '"'
end

local write = {}

function write.string(out, value)
  out:put(M.quote(tostring(value or "")))
end

function write.bytes(out, value)
  out:put('"', base64.encode(value or ""), '"')
end

function write.bool(out, value)
  out:put(value and "true" or "false")
end

function write.int64(out, value)
  out:put(("%.0f"):format(value or 0))
end

write.uint64 = write.int64

local function write_message(out, fields, values)
  local separator = "{"
  for i = 1, #fields do
    local field = fields[i]
    local value = values[field[2]]
    local empty = value == nil or value == "" or value == 0 or value == false
      or type(value) == "table" and next(value) == nil
    if not (field.omit and empty) then
      out:put(separator, '"', field[2], '":')
      separator = ","
      if field.repeated then
        out:put("[")
        for at, item in ipairs(value or {}) do
          out:put(at > 1 and "," or "")
          write[field[3]](out, item, field)
        end
        out:put("]")
      else
        write[field[3]](out, value, field)
      end
    end
  end
  out:put(separator == "{" and "{}" or "}")
end

function write.message(out, value, field)
  write_message(out, field.of, value or {})
end

--- @return the JSON object of a message
function M.encode(fields, values)
  local out = buffer.new()
  write_message(out, fields, values)
  return out:tostring()
end

local function unreserved(char)
  return ("%%%02X"):format(char:byte())
end

--- @return the query of a URL for a message of strings, without "?"
function M.query(fields, values)
  local parts = {}
  for _, field in ipairs(fields) do
    local value = tostring(values[field[2]] or "")
    if not (field.omit and value == "") then
      parts[#parts + 1] = field[2] .. "=" .. value:gsub("[^%w._~-]", unreserved)
    end
  end
  return table.concat(parts, "&")
end

-- Replies -----------------------------------------------------------------------------------------

local function wrong(what)
  return nil, failure.new("protocol", what)
end

local LUA_TYPES = { string = "string", bytes = "string", bool = "boolean", int64 = "number", uint64 = "number",
  message = "table" }
local DEFAULTS = { string = "", bytes = "", bool = false, int64 = 0, uint64 = 0 }

local function convert(field, value)
  if type(value) ~= LUA_TYPES[field[3]] then
    return wrong(("%q is a %s"):format(field[2], type(value)))
  elseif field[3] == "bytes" then
    local bytes = base64.decode(value)
    if not bytes then
      return wrong(("%q is not base64"):format(field[2]))
    end
    return bytes
  elseif field[3] == "message" then
    return M.read(field.of, value)
  end
  return value
end

local function convert_list(field, value)
  if type(value) ~= "table" then
    return wrong(("%q is a %s"):format(field[2], type(value)))
  end
  local list = {}
  for i, item in ipairs(value) do
    local made, err = convert(field, item)
    if made == nil then
      return nil, err
    end
    list[i] = made
  end
  return list
end

local function lower_keys(object)
  local out = {}
  for key, value in pairs(object) do
    if type(key) == "string" then
      out[key:lower()] = value
    end
  end
  return out
end

local function find(field, object, lower)
  for _, name in ipairs { field[2], field.alias } do
    local value = object[name]
    if value == nil then
      value = lower[name:lower()]
    end
    if value ~= nil and value ~= cjson.null and value ~= "" then
      return value
    end
  end
end

--- A message of a decoded object.  @return name → value | nil, err
function M.read(fields, object)
  local values, lower = {}, lower_keys(object)
  for _, field in ipairs(fields) do
    local value, err = find(field, object, lower), nil
    if value == nil then
      value = field.repeated and {} or DEFAULTS[field[3]]
    elseif field.repeated then
      value, err = convert_list(field, value)
    else
      value, err = convert(field, value)
    end
    if err then
      return nil, err
    end
    values[field[2]] = value
  end
  return values
end

--- A message of a JSON text.  @return name → value | nil, err
function M.decode(fields, text)
  local ok, object = pcall(decoder.decode, text)
  if not ok then
    return wrong("the answer is no JSON")
  elseif type(object) ~= "table" then
    return wrong("the answer is no JSON object")
  end
  return M.read(fields, object)
end

--- Any plain value as JSON; nil is null.  @return text | nil, err
function M.any(value)
  if value == nil then
    return "null"
  end
  local ok, text = pcall(records.any, value)
  if not ok then
    return wrong("cannot be said in JSON: " .. tostring(text))
  end
  return text
end

return M
