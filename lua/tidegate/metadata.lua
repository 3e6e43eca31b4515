-- Metadata maps: the free part of a configuration, read by the schema each component declares.
--
-- A schema maps each key to { type, default, aliases, doc, … }; types are bool int float duration
-- string list map.  A duration becomes a number of seconds.  A key "cache.status.*" is a family: its
-- value is a table of what was given, by what stands for the star.

local duration = require "tidegate.config.duration"

local metadata = {}

local KEY_FIELDS = {
  type = "string",
  aliases = "table",
  default = "any",
  doc = "string",
  keep_zero = "boolean", -- an explicit 0 or "" is meant, it does not stand for the default
  min = "number", -- smaller numbers and durations are raised to this
  ref = "string", -- the value names an object of this list of the configuration ("bypasses")
  split = "string", -- a list may be written as one string with this between the items
  values = "table", -- the only ones which make sense
}

local getters = {} -- type → function(value, spec) → value | nil when it makes no sense

--- Check the shape of a schema.  @return nil | what is wrong with it
function metadata.check(schema)
  for key, spec in pairs(schema) do
    local place = ("metadata key %s"):format(tostring(key))
    if type(key) ~= "string" or type(spec) ~= "table" then
      return place .. " must be a string with a table"
    elseif not getters[spec.type] then
      return ("%s has the unknown type %s"):format(place, tostring(spec.type))
    end
    for field, value in pairs(spec) do
      local wanted = KEY_FIELDS[field]
      if not wanted or wanted ~= "any" and type(value) ~= wanted then
        return ("%s: bad field %s"):format(place, tostring(field))
      end
    end
  end
end

local TRUE = { ["1"] = true, t = true, T = true, TRUE = true, ["true"] = true, True = true }
local FALSE = { ["0"] = true, f = true, F = true, FALSE = true, ["false"] = true, False = true }
local NUMBER = "^[+-]?%d*%.?%d*[eE]?[+-]?%d*$"

function getters.bool(value)
  if type(value) == "boolean" then
    return value
  elseif type(value) == "number" then
    return value ~= 0
  elseif TRUE[value] then
    return true
  elseif FALSE[value] then
    return false
  end
end

function getters.int(value)
  if type(value) == "boolean" then
    return value and 1 or 0
  elseif type(value) == "string" then
    return value:find("^[+-]?%d+$") and tonumber(value) or nil
  elseif type(value) == "number" then
    return value >= 0 and math.floor(value) or math.ceil(value)
  end
end

function getters.float(value)
  if type(value) == "string" then
    return value:find(NUMBER) and tonumber(value) or nil
  end
  return type(value) == "number" and value or nil
end

function getters.duration(value)
  if type(value) == "number" then
    return value
  elseif type(value) == "string" then
    return value:find("^[+-]?%d+$") and tonumber(value) or (duration.parse(value))
  end
end

function getters.string(value)
  if type(value) == "number" then
    return ("%.14g"):format(value)
  elseif type(value) == "boolean" then
    return tostring(value)
  end
  return type(value) == "string" and value or nil
end

local function split(text, separator)
  local items = {}
  for item in (text .. separator):gmatch("(.-)%" .. separator) do
    item = item:match("^%s*(.-)%s*$")
    if item ~= "" then
      items[#items + 1] = item
    end
  end
  return items
end

function getters.list(value, spec)
  if type(value) ~= "table" then
    local text = getters.string(value)
    if not text then
      return nil
    end
    return spec.split and split(text, spec.split) or text ~= "" and { text } or {}
  end
  if next(value) ~= nil and value[1] == nil then
    return nil
  end
  local items = {}
  for i, item in ipairs(value) do
    items[i] = getters.string(item) or item
  end
  return items
end

function getters.map(value)
  if type(value) == "table" and value[1] == nil then
    return value
  end
end

local EXPECTED = {
  bool = "true or false",
  int = "a whole number",
  float = "a number",
  duration = "a duration like 30s or a number of seconds",
  string = "a text",
  list = "a list",
  map = "a map",
}

-- What gost reads from a value it does not understand.
local function zero(spec)
  if spec.type == "bool" then
    return false
  elseif spec.type == "string" then
    return ""
  elseif spec.type == "list" or spec.type == "map" then
    return {}
  end
  return 0
end

local compiled = setmetatable({}, { __mode = "k" }) -- schema → lookup plan

local function compile(schema)
  local plan = { keys = {}, owner = {}, families = {} }
  for key, spec in pairs(schema) do
    if key:sub(-2) == ".*" then
      plan.families[#plan.families + 1] = { key = key, spec = spec, prefix = key:sub(1, -2):lower() }
      goto next
    end
    local names = { key:lower() }
    for _, alias in ipairs(spec.aliases or {}) do
      names[#names + 1] = alias:lower()
    end
    plan.keys[#plan.keys + 1] = { key = key, spec = spec, names = names }
    for _, name in ipairs(names) do
      plan.owner[name] = key
    end
    ::next::
  end
  table.sort(plan.keys, function(a, b)
    return a.key < b.key
  end)
  compiled[schema] = plan
  return plan
end

-- The family a lower-case name belongs to, or nil; and its own part.
local function family_of(plan, name)
  for _, family in ipairs(plan.families) do
    if #name > #family.prefix and name:sub(1, #family.prefix) == family.prefix then
      return family, name:sub(#family.prefix + 1)
    end
  end
end

--- @return whether a schema has a key of that name or alias
function metadata.has_key(schema, key)
  local plan = compiled[schema] or compile(schema)
  return plan.owner[key:lower()] ~= nil or family_of(plan, key:lower()) ~= nil
end

local function read_value(spec, raw)
  local value = getters[spec.type](raw, spec)
  local problem
  if value == nil then
    problem = "must be " .. EXPECTED[spec.type]
    value = zero(spec)
  end
  if spec.min and type(value) == "number" and value < spec.min and value ~= 0 then
    value = spec.min
  end
  if spec.values and value ~= "" then
    local known = false
    for _, allowed in ipairs(spec.values) do
      known = known or allowed == value
    end
    if not known then
      problem = "must be one of " .. table.concat(spec.values, ", ")
    end
  end
  return value, problem
end

local function is_zero(value)
  return value == 0 or value == "" or type(value) == "table" and next(value) == nil
end

--- Read a metadata map by a schema.
-- Keys are compared without case; of a key and its aliases the first that is present is taken, even
-- there is none), except for booleans and where the schema says `keep_zero`.  Numbers are numbers
-- whatever syntax they came from, and a single text is taken for a list of one.
-- @return values by canonical key, list of { key, message } for values which make no sense,
--   sorted list of the keys the schema does not know
function metadata.parse(schema, map)
  local plan = compiled[schema] or compile(schema)
  local lowered, unknown = {}, {}
  local values, problems = {}, {}
  for _, family in ipairs(plan.families) do
    values[family.key] = {}
  end
  for key, value in pairs(map or {}) do
    local name = tostring(key):lower()
    lowered[name] = { key = key, value = value }
    local family, own = family_of(plan, name)
    if plan.owner[name] then
      family = nil
    elseif not family then
      unknown[#unknown + 1] = tostring(key)
    end
    if family then
      local parsed, problem = read_value(family.spec, value)
      values[family.key][own] = parsed
      if problem then
        problems[#problems + 1] = { key = key, message = problem }
      end
    end
  end
  table.sort(unknown)

  for _, entry in ipairs(plan.keys) do
    local spec, value = entry.spec, nil
    for _, name in ipairs(entry.names) do
      local given = lowered[name]
      if given then
        local problem
        value, problem = read_value(spec, given.value)
        if problem then
          problems[#problems + 1] = { key = given.key, message = problem }
        end
        break
      end
    end
    if value == nil or is_zero(value) and not spec.keep_zero then
      value = spec.default
    end
    values[entry.key] = value
  end
  return values, problems, unknown
end

return metadata
