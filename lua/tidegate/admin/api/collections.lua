-- /config/COLLECTION and /config/COLLECTION/{name}: the named objects of the configuration.

local answer = require "tidegate.admin.api.answer"
local json = require "tidegate.config.json"
local mask = require "tidegate.config.mask"
local problem = require "tidegate.config.problem"
local reader = require "tidegate.config.reader"
local schema = require "tidegate.config.schema"
local writer = require "tidegate.config.writer"

local M = {}

-- Collections, what one of them is called in messages, and the name of its path argument.
local COLLECTIONS = {
  { "services", "service", builds = true },
  { "chains", "chain", builds = true },
  { "hops", "hop", builds = true },
  { "authers", "auther" },
  { "admissions", "admission" },
  { "bypasses", "bypass" },
  { "resolvers", "resolver", builds = true },
  { "hosts", "hosts" },
  { "ingresses", "ingress" },
  { "routers", "router" },
  { "observers", "observer" },
  { "recorders", "recorder" },
  { "sds", "sd" },
  { "limiters", "limiter" },
  { "climiters", "limiter" },
  { "rlimiters", "limiter" },
  { "quotas", "quota" },
  { "caches", "cache" },
}

local function find(list, name)
  for i, item in ipairs(list or {}) do
    if item.name == name then
      return i, item
    end
  end
end

local function trim(text)
  return (text or ""):match "^%s*(.-)%s*$"
end

-- The object in a request's body.  @return object | nil, message
local function read_object(kind, body)
  local root, err = json.parse(body:find "%S" and body or "{}")
  if not root then
    return nil, ("the body is not JSON: line %d: %s"):format(err.line or 1, err.message or tostring(err))
  elseif root.kind ~= "map" then
    return nil, "the body must be a JSON object"
  end
  local object, problems = reader.read(root, { mode = "json", object = kind })
  for _, item in ipairs(problems) do
    if item.severity ~= "warning" and not item.late then -- keys that nobody knows are passed over
      return nil, ("%s: %s"):format(item.path ~= "" and item.path or kind, item.message)
    end
  end
  return object
end

-- Why a changed configuration cannot be: the problem of the object itself first.
local function reason(problems)
  local texts = {}
  for i, item in ipairs(problems) do
    texts[i] = tostring(type(item) == "table" and problem.bless(item) or item)
  end
  return table.concat(texts, "; ")
end

local function not_built(entry, name, problems)
  if entry.builds then
    return answer.error(40003, ("create %s %s failed: %s"):format(entry[2], name, reason(problems)))
  end
  return answer.error(40001, reason(problems))
end

local function check_object(list, object)
  if list == "caches" and not object.memory and not object.redis then
    return answer.error(40001, "cache has no backend configured")
  end
end

local function create(control, entry, request)
  local list, word = entry[1], entry[2]
  local object, err = read_object(entry.object, request.body)
  if not object then
    return answer.error(40001, err)
  end
  object.name = trim(object.name)
  if object.name == "" then
    return answer.error(40001, word .. " name is required")
  end
  local refusal = check_object(list, object)
  if refusal then
    return refusal
  end
  local ok, problems = control.change(function(config)
    if find(config[list], object.name) then
      refusal = answer.error(40002, ("%s %s already exists"):format(word, object.name))
      return false
    end
    config[list] = config[list] or {}
    table.insert(config[list], object)
    return true
  end)
  return refusal or ok and answer.done() or not_built(entry, object.name, problems)
end

local function update(control, entry, request, arguments)
  local list, word = entry[1], entry[2]
  local name = trim(arguments[word])
  local object, err = read_object(entry.object, request.body)
  if not object then
    return answer.error(40001, err)
  end
  object.name = name
  local refusal = check_object(list, object)
  if refusal then
    return refusal
  end
  local ok, problems = control.change(function(config)
    local at = find(config[list], name)
    if not at then
      refusal = answer.error(40004, ("%s %s not found"):format(word, name))
      return false
    end
    config[list][at] = object
    return true
  end)
  return refusal or ok and answer.done() or not_built(entry, name, problems)
end

local function delete(control, entry, _, arguments)
  local list, word = entry[1], entry[2]
  local name, refusal = trim(arguments[word]), nil
  local ok, problems = control.change(function(config)
    local at = find(config[list], name)
    if not at then
      refusal = answer.error(40004, ("%s %s not found"):format(word, name))
      return false
    end
    table.remove(config[list], at)
    config[list] = config[list][1] and config[list] or nil
    return true
  end)
  return refusal or ok and answer.done() or answer.error(40003, reason(problems))
end

-- The configuration and what is known beside it, with or without its secrets.
local function view(control, request)
  local config = control.config()
  local marks = control.marks(config)
  if mask.is_wanted(request.query.mask) then
    return mask.copy(config, marks)
  end
  return config, marks
end

local function list_all(control, entry, request)
  local items = {}
  local config, marks = view(control, request)
  for i, object in ipairs(config[entry[1]] or {}) do
    items[i] = writer.json(object, entry.object, marks)
  end
  return answer.list(items)
end

local function get_one(control, entry, request, arguments)
  local config, marks = view(control, request)
  local _, object = find(config[entry[1]], trim(arguments[entry[2]]))
  return answer.data(object and writer.json(object, entry.object, marks) or "null")
end

--- Add the routes of all collections.
-- @param control see tidegate.admin.api
function M.add(routes, control)
  local fields = schema.object("root").by_key
  for _, entry in ipairs(COLLECTIONS) do
    local path = "/config/" .. entry[1]
    local one = path .. "/{" .. entry[2] .. "}"
    entry.object = fields[entry[1]].item
    local function bound(fn)
      return function(request, arguments)
        return fn(control, entry, request, arguments)
      end
    end
    local word, object = entry[2], entry.object
    local function add(method, at, fn, doc, takes, gives)
      routes:add(method, at, bound(fn), { tag = entry[1], doc = doc, takes = takes, gives = gives })
    end
    add("GET", path, list_all, ("all %s"):format(entry[1]), nil, "[]" .. object)
    add("POST", path, create, ("create a %s"):format(word), object)
    add("GET", one, get_one, ("one %s; data is null when there is none"):format(word), nil, object)
    add("PUT", one, update, ("replace a %s, whole"):format(word), object)
    add("DELETE", one, delete, ("delete a %s"):format(word))
  end
end

return M
