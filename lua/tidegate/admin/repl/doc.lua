-- What a component or an object of the configuration takes: `:doc NAME`, `tidegate doc NAME`.

local component = require "tidegate.component"
local nearest = require "tidegate.config.nearest"
local print = require "tidegate.admin.repl.print"
local schema = require "tidegate.config.schema"
local sorted = require "tidegate.sorted"

local M = {}

local function component_keys(item)
  local rows = {}
  for _, name in ipairs(sorted(item.metadata or {})) do
    local key = item.metadata[name]
    rows[#rows + 1] = {
      "  " .. name, key.type, key.default ~= nil and "default " .. print.text(key.default) or "", key.doc or "",
    }
  end
  return #rows > 0 and print.columns(rows) or "  no metadata"
end

local TYPES = { int = "number", bool = "true or false", dur = "duration", texts = "map of texts" }

local function object_keys(object)
  local rows = {}
  for _, field in ipairs(object.fields) do
    if field.name ~= "scripted" then
      local kind = field.item and "list of " .. field.item or TYPES[field.type] or field.type
      rows[#rows + 1] = { "  " .. field.name, field.ref and "name of " .. field.ref or kind, field.doc or "" }
    end
  end
  return print.columns(rows)
end

-- Lists are documented by what is in them: `services` is `service`.
local function object_of(name)
  local fields = schema.objects.root.by_key
  local field = fields[name:lower()]
  local kind = field and (field.item or field.type) or name:lower()
  return schema.objects[kind], kind
end

--- All names there are.
function M.names()
  local seen = {}
  for _, kind in ipairs(component.KINDS) do
    for _, name in ipairs(component.known(kind)) do
      seen[name] = true
    end
  end
  for name in pairs(schema.objects) do
    seen[name] = true
  end
  return sorted(seen)
end

--- @return text | nil, what is wrong
function M.text(name)
  local texts = {}
  for _, kind in ipairs(component.KINDS) do
    local item = component.find(kind, name)
    if item then
      texts[#texts + 1] = ("%s %s: %s\n%s"):format(kind, item.name, item.doc or "", component_keys(item))
    end
  end
  local object, kind = object_of(name)
  if object then
    texts[#texts + 1] = ("object %s of the configuration\n%s"):format(kind, object_keys(object))
  end
  if #texts == 0 then
    return nil, ("there is no component or object %q%s"):format(name, nearest.hint(name, M.names()))
  end
  return table.concat(texts, "\n\n")
end

return M
