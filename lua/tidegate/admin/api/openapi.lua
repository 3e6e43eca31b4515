-- The Swagger 2.0 document of the API, made of its routes and of the schema of the configuration.

local cli = require "tidegate.cli"
local component = require "tidegate.component"
local schema = require "tidegate.config.schema"
local sorted = require "tidegate.sorted"

local M = {}

--- A list without items, which YAML has to be told.
M.EMPTY = {}

local TYPES = {
  string = { type = "string" },
  int = { type = "integer", format = "int64" },
  bool = { type = "boolean" },
  dur = { type = "integer", format = "int64", description = "nanoseconds; a text such as 10s is taken as well" },
  map = { type = "object", additionalProperties = {} },
  texts = { type = "object", additionalProperties = { type = "string" } },
}

local function list_of(one)
  return { type = "array", items = one }
end

local function type_of(kind)
  local item = kind:match "^%[%](.+)$"
  if item then
    return list_of(type_of(item))
  end
  local plain = TYPES[kind]
  if not plain then
    return { ["$ref"] = "#/definitions/" .. kind }
  end
  local made = {}
  for key, value in pairs(plain) do
    made[key] = value
  end
  return made
end

local STATUS = { type = "object", readOnly = true, description = "read-only state" }

local function property_of(field)
  if field.type == "ignored" then
    return STATUS
  end
  local made = type_of(field.type)
  if not made["$ref"] and not made.description then
    made.description = field.doc
  end
  return made
end

local function definition_of(object)
  local properties = {}
  for _, field in ipairs(object.fields) do
    if field.name ~= "scripted" then
      properties[field.json or field.name] = property_of(field)
    end
  end
  return { type = "object", properties = properties }
end

-- Names of the components that a part of a service or node may have.
local KINDS = { "handler", "listener", "connector", "dialer" }

local function definitions()
  local made = {}
  for name, object in pairs(schema.objects) do
    made[name] = definition_of(object)
  end
  for _, kind in ipairs(KINDS) do
    made[kind].properties.type = { type = "string", enum = component.known(kind), description = kind .. " type" }
  end
  made.error = {
    type = "object",
    properties = { code = { type = "integer" }, msg = { type = "string" } },
  }
  made.done = { type = "object", properties = { msg = { type = "string" } } }
  return made
end

-- What "data" is, shown by an example.
local function schema_of_example(value)
  if type(value) == "table" and value[1] ~= nil then
    return list_of(schema_of_example(value[1]))
  elseif type(value) == "table" then
    local properties = {}
    for key, item in pairs(value) do
      properties[key] = schema_of_example(item)
    end
    return { type = "object", properties = properties }
  end
  local kind = type(value)
  return {
    type = kind == "number" and (value == math.floor(value) and "integer" or "number") or kind,
    example = value,
  }
end

local function data_of(about)
  local item = about.gives and about.gives:match "^%[%](.+)$"
  if item then
    return { type = "object", properties = {
      count = { type = "integer" }, list = list_of { ["$ref"] = "#/definitions/" .. item },
    } }
  elseif about.gives then
    return { ["$ref"] = "#/definitions/" .. about.gives }
  end
  return about.data and schema_of_example(about.data)
end

local function responses(route)
  local about, data = route.about, data_of(route.about)
  local good = about.bare and data
    or data and route.method == "GET" and { type = "object", properties = { data = data } }
    or { ["$ref"] = "#/definitions/done" }
  local made = { ["200"] = { description = "done", schema = good } }
  if not route.open then
    made["401"] = { description = "not authenticated", schema = { ["$ref"] = "#/definitions/error" } }
  end
  if route.method ~= "GET" then
    made["400"] = { description = "refused", schema = { ["$ref"] = "#/definitions/error" } }
  end
  return made
end

local function parameters(route)
  local list = {}
  for name in route.pattern:gmatch "{(.-)}" do
    list[#list + 1] = { name = name, ["in"] = "path", required = true, type = "string" }
  end
  for _, name in ipairs(sorted(route.about.query or {})) do
    list[#list + 1] = { name = name, ["in"] = "query", type = "string", description = route.about.query[name] }
  end
  if route.about.takes then
    list[#list + 1] = {
      name = "body", ["in"] = "body", required = true, schema = { ["$ref"] = "#/definitions/" .. route.about.takes },
    }
  end
  return #list > 0 and list or nil
end

--- The document as a table.
-- @param routes of tidegate.admin.routes
function M.document(routes)
  local paths = {}
  for _, route in ipairs(routes.list) do
    if route.about.tag then
      local path = paths[route.pattern] or {}
      paths[route.pattern] = path
      path[route.method:lower()] = {
        tags = { route.about.tag },
        summary = route.about.doc,
        parameters = parameters(route),
        responses = responses(route),
        security = not route.open and { { basicAuth = M.EMPTY } } or nil,
      }
    end
  end
  return {
    swagger = "2.0",
    info = { title = "tidegate Web API", version = cli.VERSION },
    basePath = #routes.prefix > 0 and "/" .. table.concat(routes.prefix, "/") or "/",
    consumes = { "application/json" },
    produces = { "application/json" },
    securityDefinitions = { basicAuth = { type = "basic" } },
    paths = paths,
    definitions = definitions(),
  }
end

return M
