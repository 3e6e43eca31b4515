-- A configuration as YAML or JSON text, the way `-O` of gost prints it.

local duration = require "tidegate.config.duration"
local scalar = require "tidegate.config.scalar"
local schema = require "tidegate.config.schema"

local writer = {}

-- Ordered entries -------------------------------------------------------------------------------

local function is_empty(value)
  return value == nil or value == "" or value == 0 or value == false
end

-- Is this the empty value of its type?  Empty maps and lists count, empty objects do not.
local function is_omitted(field, value)
  if value == nil then
    return true
  elseif field.item or field.type == "map" or field.type == "texts" then
    return next(value) == nil
  end
  return is_empty(value)
end

local ZERO = { string = "", int = 0, bool = false, dur = 0 }

local function number_at(text, at)
  local digits = text:match("^%d+", at) or ""
  return tonumber(digits) or 0, at + #digits
end

-- The order of keys in gost's YAML: numbers inside names by their value, letters behind the rest.
local function natural_less(a, b)
  local digits = false
  for i = 1, math.min(#a, #b) do
    local x, y = a:sub(i, i), b:sub(i, i)
    if x == y then
      digits = x:find("%d") ~= nil
    else
      local x_letter, y_letter = x:find("%a") ~= nil, y:find("%a") ~= nil
      if x_letter and y_letter then
        return x < y
      elseif x_letter or y_letter then
        return digits and x_letter or not digits and y_letter
      end
      local m, m_end = number_at(a, i)
      local n, n_end = number_at(b, i)
      if m ~= n then
        return m < n
      elseif m_end ~= n_end then
        return m_end < n_end
      end
      return x < y
    end
  end
  return #a < #b
end

local function sorted_keys(map, lowered, less)
  local keys, by_key = {}, {}
  for key, value in pairs(map) do
    local name = lowered and tostring(key):lower() or tostring(key)
    keys[#keys + 1] = name
    by_key[name] = value
  end
  table.sort(keys, less)
  return keys, by_key
end

-- Typed values so that both printers need no schema: { "list", items } { "map", { key, value }… }
-- { "dur", seconds } { "null" } or a plain scalar.
local typed

local function typed_free(value, marks, less, lowered)
  if type(value) ~= "table" then
    return type(value) == "function" and "<function>" or value
  end
  local mark = marks[value]
  if value[1] ~= nil or mark and mark.list then
    local items = { kind = "list" }
    for i, item in ipairs(value) do
      items[i] = typed_free(item, marks, less, lowered)
    end
    return items
  end
  lowered = lowered or mark and mark.lowered
  local made = { kind = "map" }
  local keys, by_key = sorted_keys(value, lowered, less)
  for i, key in ipairs(keys) do
    made[i] = { key, typed_free(by_key[key], marks, less, lowered) }
  end
  return made
end

local function typed_object(kind, value, marks, json)
  local made = { kind = "map" }
  for _, field in ipairs(kind.fields) do
    local item = value[field.name]
    if field.type == "ignored" then
      local status = marks[value] and marks[value][field.name]
      made[#made + 1] = status and { field.name, typed_free(status, marks) }
    elseif (field.always and not (json and field.omit) or not is_omitted(field, item)) then
      if item == nil then
        item = ZERO[field.type]
      end
      made[#made + 1] = { json and field.json or field.name, typed(field.type, item, marks, json) }
    end
  end
  return made
end

function typed(kind, value, marks, json)
  local item = kind:match("^%[%](.+)$")
  if item then
    if not value then
      return { kind = "list", null = true }
    end
    local items = { kind = "list" }
    for i, entry in ipairs(value) do
      items[i] = typed(item, entry, marks, json)
    end
    return items
  elseif kind == "dur" then
    return { kind = "dur", seconds = value }
  elseif kind == "map" or kind == "texts" then
    return typed_free(value, marks, not json and natural_less or nil)
  elseif ZERO[kind] ~= nil then
    return value
  end
  return typed_object(schema.object(kind), value, marks, json)
end

local function number_text(value)
  if value ~= value then
    return ".nan"
  elseif value == math.huge then
    return ".inf"
  elseif value == -math.huge then
    return "-.inf"
  elseif value == math.floor(value) and math.abs(value) < 1e15 then
    return ("%d"):format(value)
  end
  for precision = 15, 17 do
    local text = ("%." .. precision .. "g"):format(value)
    if tonumber(text) == value then
      return text
    end
  end
end

-- YAML ------------------------------------------------------------------------------------------

local FIRST = {}
for char in ("#,[]{}&*!|>'\"%@`"):gmatch(".") do
  FIRST[char] = true
end

-- What libyaml's analysis of a text finds: may it stand plain, in single quotes, as a block?
local function analyze(text)
  local block, special = text:find("^%-%-%-") or text:find("^%.%.%."), false
  local first, second = text:sub(1, 1), text:sub(2, 2)
  local blank_second = second == "" or second:find("^[ \t\r\n]$") ~= nil
  block = block or FIRST[first] or (first == "?" or first == ":" or first == "-") and blank_second
  block = block or text:find(".:[ \t\r\n]") or text:find(".:$") or text:find("[ \t\r\n]#")
  if text:find("[%z\1-\8\11-\31\127]") or text:find("\239\187\191", 1, true) then
    special = true
  end
  local tabs = text:find("\t", 1, true) ~= nil
  local breaks = text:find("\n", 1, true) ~= nil
  local space_break, break_space = text:find(" \n", 1, true), text:find("\n ", 1, true)
  local edge = text:find("^[ \n]") or text:find("[ \n]$")
  return {
    plain = not (block or special or tabs or breaks or edge or break_space or space_break),
    single = not (special or tabs or space_break or break_space),
    literal = not (special or space_break or text:find(" $") or text:find("^\n*$")), -- gost's block of breaks is empty
  }
end

local ESCAPES = {
  ["\0"] = "\\0", ["\a"] = "\\a", ["\b"] = "\\b", ["\t"] = "\\t", ["\n"] = "\\n", ["\v"] = "\\v",
  ["\f"] = "\\f", ["\r"] = "\\r", ["\27"] = "\\e", ['"'] = '\\"', ["\\"] = "\\\\",
}

local function double_quoted(text)
  local escaped = text:gsub('[%z\1-\31\127"\\]', function(char)
    return ESCAPES[char] or ("\\x%02X"):format(char:byte())
  end)
  return '"' .. escaped .. '"'
end

local function literal(text, indent)
  local body, tail = text:match("^(.-)(\n*)$")
  local chomp = tail == "" and "-" or #tail > 1 and "+" or ""
  local hint = text:find("^[ \n]") and "2" or ""
  local lines = {}
  for line in (body .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = line == "" and "" or indent .. line
  end
  return "|" .. hint .. chomp .. "\n" .. table.concat(lines, "\n") .. ("\n"):rep(#tail - 1)
end

local function yaml_text(text, indent)
  local found = analyze(text)
  if indent and text:find("\n", 1, true) and found.literal then
    return literal(text, indent)
  elseif text:find("\n", 1, true) or not scalar.is_plain(text) then
    return double_quoted(text)
  elseif found.plain then
    return text
  elseif found.single then
    return "'" .. text:gsub("'", "''") .. "'"
  end
  return double_quoted(text)
end

local function yaml_scalar(value, indent)
  if type(value) == "string" then
    return yaml_text(value, indent)
  elseif type(value) == "number" then
    return number_text(value)
  elseif value == nil then
    return "null"
  elseif type(value) == "table" then
    return duration.format(value.seconds)
  end
  return tostring(value)
end

local yaml_map

local function is_block(value)
  return type(value) == "table" and value.kind ~= "dur" and #value > 0
end

local function yaml_inline(value, indent)
  if type(value) == "table" and value.kind ~= "dur" then
    return value.kind == "list" and "[]" or "{}"
  end
  return yaml_scalar(value, indent)
end

local function yaml_list(out, list, indent)
  for _, item in ipairs(list) do
    if not is_block(item) then
      out[#out + 1] = indent .. "- " .. yaml_inline(item, indent .. "  ")
    else
      local at = #out + 1
      if item.kind == "map" then
        yaml_map(out, item, indent .. "  ")
      else
        yaml_list(out, item, indent .. "  ")
      end
      out[at] = indent .. "- " .. out[at]:sub(#indent + 3)
    end
  end
end

function yaml_map(out, map, indent)
  for _, entry in ipairs(map) do
    local head = indent .. yaml_text(entry[1]) .. ":"
    local value = entry[2]
    if not is_block(value) then
      out[#out + 1] = head .. " " .. yaml_inline(value, indent .. "  ")
    else
      out[#out + 1] = head
      local print = value.kind == "map" and yaml_map or yaml_list
      print(out, value, indent .. "  ")
    end
  end
end

-- JSON ------------------------------------------------------------------------------------------

local JSON_ESCAPES = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t",
}

local function json_text(text)
  local escaped = text:gsub('[%z\1-\31"\\<>&]', function(char)
    return JSON_ESCAPES[char] or ("\\u%04x"):format(char:byte())
  end)
  escaped = escaped:gsub("\226\128[\168\169]", { ["\226\128\168"] = "\\u2028",
    ["\226\128\169"] = "\\u2029" })
  return '"' .. escaped .. '"'
end

local json_value

-- indent nil: all on one line, without blanks
local function json_items(items, indent, open, close, print)
  local lines = {}
  if not indent then
    for i, item in ipairs(items) do
      lines[i] = print(item)
    end
    return open .. table.concat(lines, ",") .. close
  end
  for i, item in ipairs(items) do
    lines[i] = indent .. "  " .. print(item)
  end
  return open .. "\n" .. table.concat(lines, ",\n") .. "\n" .. indent .. close
end

function json_value(value, indent)
  if type(value) == "string" then
    return json_text(value)
  elseif type(value) == "number" then
    return number_text(value)
  elseif type(value) ~= "table" then
    return value == nil and "null" or tostring(value)
  elseif value.kind == "dur" then
    return number_text(duration.nanoseconds(value.seconds))
  elseif value.null then
    return "null"
  elseif #value == 0 then
    return value.kind == "list" and "[]" or "{}"
  elseif value.kind == "list" then
    return json_items(value, indent, "[", "]", function(item)
      return json_value(item, indent and indent .. "  ")
    end)
  end
  return json_items(value, indent, "{", "}", function(entry)
    return json_text(entry[1]) .. (indent and ": " or ":") .. json_value(entry[2], indent and indent .. "  ")
  end)
end

--- An object of the configuration as JSON on one line, as the API answers.
-- @param object its name in the schema
-- @param marks may hold what is read-only: marks[value].status
function writer.json(value, object, marks)
  return json_value(typed_object(schema.object(object), value, marks or {}, true))
end

--- Any plain value as JSON on one line: tables with [1] are lists, keys are sorted.
function writer.plain_json(value)
  return json_value(typed_free(value, {}))
end

--- Any plain value as YAML: tables with [1] are lists, keys are sorted.
-- @param marks nil or [table] = { list = true } for those that are lists without items
function writer.plain_yaml(value, marks)
  local out = {}
  yaml_map(out, typed_free(value, marks or {}), "")
  return table.concat(out, "\n") .. "\n"
end

--- Write a configuration.
-- @param format "json", anything else is YAML
-- @param marks the positions beside the configuration; they know whether keys came from a file
-- @param object name of the object `config` is, default the root
function writer.write(config, format, marks, object)
  local json = format == "json"
  local made = typed_object(schema.object(object or "root"), config, marks or {}, json)
  if json then
    return json_value(made, "") .. "\n"
  end
  local out = {}
  yaml_map(out, made, "")
  return #out == 0 and "{}\n" or table.concat(out, "\n") .. "\n"
end

return writer
