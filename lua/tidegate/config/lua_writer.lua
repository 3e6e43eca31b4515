-- A configuration as the text of a Lua file that returns it.

local duration = require "tidegate.config.duration"
local schema = require "tidegate.config.schema"

local M = {}

local RESERVED = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return
  then true until while]]):gmatch "%S+" do
  RESERVED[word] = true
end

local function key_text(key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" and not RESERVED[key] then
    return key
  end
  return ("[%q]"):format(tostring(key))
end

local function scalar_text(value)
  if type(value) == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"):gsub("\r", "\\r"):gsub("%z", "\\000"))
  elseif type(value) == "number" and value == math.floor(value) and math.abs(value) < 1e15 then
    return ("%d"):format(value)
  elseif type(value) == "number" then
    return ("%.17g"):format(value)
  end
  return tostring(value)
end

local value_text

local function block(lines, indent)
  if #lines == 0 then
    return "{}"
  end
  return "{\n" .. table.concat(lines) .. indent .. "}"
end

local function list_text(kind, value, indent)
  local lines, inner = {}, indent .. "  "
  for i, item in ipairs(value) do
    lines[i] = ("%s%s,\n"):format(inner, value_text(kind, item, inner))
  end
  return block(lines, indent)
end

local function map_text(value, indent)
  local keys, lines, inner = {}, {}, indent .. "  "
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for i, key in ipairs(keys) do
    lines[i] = ("%s%s = %s,\n"):format(inner, key_text(key), value_text("map", value[key], inner))
  end
  return block(lines, indent)
end

local function object_text(kind, value, indent)
  local lines, inner = {}, indent .. "  "
  for _, field in ipairs(schema.object(kind).fields) do
    local item = value[field.name]
    if item ~= nil and field.type ~= "ignored" then
      lines[#lines + 1] = ("%s%s = %s,\n"):format(inner, key_text(field.name), value_text(field.type, item, inner))
    end
  end
  return block(lines, indent)
end

function value_text(kind, value, indent)
  local item = kind:match "^%[%](.+)$"
  if type(value) ~= "table" then
    return kind == "dur" and ("%q"):format(duration.format(value)) or scalar_text(value)
  elseif item then
    return list_text(item, value, indent)
  elseif schema.object(kind) then
    return object_text(kind, value, indent)
  end
  return value[1] ~= nil and list_text("map", value, indent) or map_text(value, indent)
end

--- @return the text of a Lua file that returns the configuration
function M.write(config)
  return "return " .. object_text("root", config, "") .. "\n"
end

return M
