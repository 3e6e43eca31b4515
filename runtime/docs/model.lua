-- What the reference, the manual pages and the completions are made from: the schemas, as lists in order.

local component = require "tidegate.component"
local duration = require "tidegate.config.duration"
local flags = require "tidegate.config.flags"
local keys = require "tidegate.config.keys"
local schema = require "tidegate.config.schema"
local sorted = require "tidegate.sorted"

local M = {}

local TYPES = {
  dur = "duration", map = "map", texts = "map of texts", int = "number", bool = "bool", string = "text",
  ["[]string"] = "list of texts", float = "number", list = "list of texts",
}

--- The formats of files and `--to`.
M.FORMATS = { "yaml", "json", "lua", "url" }
M.FLAGS, M.COMMANDS = flags.FLAGS, flags.COMMANDS

local function default_text(spec)
  local value = spec.default
  if value == nil or value == "" then
    return ""
  elseif spec.type == "duration" and type(value) == "number" then
    return duration.format(value)
  elseif type(value) == "table" then
    return table.concat(value, ", ")
  elseif type(value) == "number" then
    return ("%.14g"):format(value)
  end
  return tostring(value)
end

local function sentence(text)
  return (tostring(text or ""):gsub("%s+", " "))
end

--- The keys of a metadata schema: list of { name, type, default, doc, aliases }.
function M.metadata(map)
  local list = {}
  for i, name in ipairs(sorted(map)) do
    local spec = map[name]
    local doc = sentence(spec.doc)
    if spec.values then
      doc = ("%s%sone of %s"):format(doc, doc == "" and "" or "; ", table.concat(spec.values, ", "))
    end
    list[i] = {
      name = name, type = TYPES[spec.type] or spec.type, default = default_text(spec), doc = doc,
      aliases = spec.aliases or {},
    }
  end
  return list
end

--- The components of a kind: list of { name, doc, aliases, keys }.
function M.components(kind)
  local list, seen = {}, {}
  for _, name in ipairs(component.known(kind)) do
    local item = component.find(kind, name)
    if item and not seen[item] then
      seen[item] = true
      local aliases = { unpack(item.aliases) }
      table.sort(aliases)
      list[#list + 1] = {
        name = item.name, doc = sentence(item.doc), aliases = aliases, keys = M.metadata(item.metadata),
      }
    end
  end
  table.sort(list, function(a, b)
    return a.name < b.name
  end)
  return list
end

--- Metadata that no component owns: list of { name, doc, keys }.
function M.shared_keys()
  local list = {}
  for _, name in ipairs { "service", "handler", "hop", "node" } do
    list[#list + 1] = { name = name, keys = M.metadata(keys[name]) }
  end
  return list
end

-- Objects in the order in which the root leads to them.
local function walk(name, seen, list)
  if seen[name] or not schema.object(name) then
    return
  end
  seen[name] = true
  local object = { name = name, fields = {} }
  list[#list + 1] = object
  for _, field in ipairs(schema.object(name).fields) do
    if field.type ~= "ignored" and field.name ~= "scripted" then
      local inner = field.item or field.type
      object.fields[#object.fields + 1] = {
        name = field.name, doc = sentence(field.doc), ref = field.ref,
        object = schema.object(inner) and inner, is_list = field.item ~= nil,
        type = TYPES[field.type] or (field.item and "list of " or "") .. inner,
      }
    end
  end
  for _, field in ipairs(object.fields) do
    if field.object then
      walk(field.object, seen, list)
    end
  end
end

--- The objects of a configuration file: list of { name, fields = { name, type, doc, ref, object } }.
function M.objects()
  local list = {}
  walk("root", {}, list)
  return list
end

--- The words of schemes: { service = first and only parts, …, carrier }.
function M.schemes()
  local found = {}
  for _, kind in ipairs(component.KINDS) do
    local names = {}
    for _, item in ipairs(M.components(kind)) do
      names[#names + 1] = item.name
      for _, alias in ipairs(item.aliases) do
        names[#names + 1] = alias
      end
    end
    table.sort(names)
    found[kind] = names
  end
  return found
end

return M
