-- How a listener, handler, dialer or connector is declared, and how it is found by name.
--
-- A component is a file `tidegate/<kind>/<name>.lua` which returns
--
--   return component.dialer "ws" {
--     doc = "WebSocket over TCP",
--     aliases = { … },
--     metadata = { path = { type = "string", default = "/ws", doc = "request path" }, … },
--     dial = function(self, ctx, node) … end,
--   }
--
-- There is no central list: a name is looked for among what scripts registered, then as a module,
-- then among the aliases of all modules of that kind.

local failure = require "tidegate.failure"
local metadata = require "tidegate.metadata"
local sorted = require "tidegate.sorted"

local component = {}

--- The kinds of components; each has a declaring function of that name in this module.
component.KINDS = { "listener", "handler", "dialer", "connector" }

local IS_KIND = {}
local registered = {} -- kind → name → component
local aliased = {} -- kind → alias → name
local complete = {} -- kind → whether every module of this kind has been loaded
for _, kind in ipairs(component.KINDS) do
  IS_KIND[kind], registered[kind], aliased[kind] = true, {}, {}
end

local list_modules -- function() → names of modules; set by the runtime

-- Declaring --------------------------------------------------------------------------------------

local function check_shape(kind, name, item)
  local where = ("%s %q"):format(kind, tostring(name))
  if type(name) ~= "string" or name == "" then
    error(kind .. ": the name must be a text", 3)
  elseif type(item) ~= "table" then
    error(where .. " must be a table", 3)
  elseif item.doc ~= nil and type(item.doc) ~= "string" then
    error(where .. ": doc must be a text", 3)
  end
  for _, field in ipairs { "aliases", "metadata" } do
    if item[field] ~= nil and type(item[field]) ~= "table" then
      error(("%s: %s must be a table"):format(where, field), 3)
    end
  end
  local bad = metadata.check(item.metadata or {})
  if bad then
    error(where .. ": " .. bad, 3)
  end
end

--- Register a component; the last one of a name wins until it is removed.
-- @return the component, with `kind` and `name` set
function component.register(kind, name, item)
  if not IS_KIND[kind] then
    error("no such kind of component: " .. tostring(kind), 2)
  end
  check_shape(kind, name, item)
  item.kind, item.name = kind, name
  item.metadata = item.metadata or {}
  item.aliases = item.aliases or {}

  local before = registered[kind][name]
  if before ~= item then
    item.shadows = before
  end
  registered[kind][name] = item
  for _, alias in ipairs(item.aliases) do
    aliased[kind][alias] = name
  end
  return item
end

for _, kind in ipairs(component.KINDS) do
  component[kind] = function(name)
    return function(item)
      return component.register(kind, name, item)
    end
  end
end

--- Take back what a script registered; what it had replaced is found again.
function component.remove(item)
  local names = registered[item.kind]
  if names[item.name] == item then
    names[item.name] = item.shadows
    for _, alias in ipairs(item.aliases) do
      if aliased[item.kind][alias] == item.name then
        aliased[item.kind][alias] = nil
      end
    end
    for _, alias in ipairs(item.shadows and item.shadows.aliases or {}) do
      aliased[item.kind][alias] = item.name
    end
    return
  end
  local above = names[item.name]
  while above and above.shadows ~= item do
    above = above.shadows
  end
  if above then
    above.shadows = item.shadows
  end
end

-- Finding ----------------------------------------------------------------------------------------

--- Say where the names of the modules come from: `fn()` returns a list of module names, those which
-- are no components included.  nil: the embedded list and the directories of `package.path`.
function component.set_listing(fn)
  list_modules = fn
  complete = {}
end

local function scan_directory(path, found, prefix)
  local ok, uv = pcall(require, "luv")
  if ok then
    local handle = uv.fs_scandir(path)
    local name = handle and uv.fs_scandir_next(handle)
    while name do
      found[#found + 1] = name:match("^([%w_%-]+)%.lua$") and prefix .. name:sub(1, -5) or nil
      name = uv.fs_scandir_next(handle)
    end
    return
  end
  local pipe = io.popen("ls -1 '" .. path:gsub("'", "'\\''") .. "' 2>/dev/null")
  for name in pipe and pipe:lines() or function() end do
    found[#found + 1] = name:match("^([%w_%-]+)%.lua$") and prefix .. name:sub(1, -5) or nil
  end
  if pipe then
    pipe:close()
  end
end

local function default_listing()
  local found = {}
  local ok, embed = pcall(require, "tidegate.native.embed")
  if ok and embed.modules then
    for _, name in ipairs(embed.modules()) do
      found[#found + 1] = name
    end
  end
  for template in package.path:gmatch("[^;]+") do
    local root = template:match("^(.*)%?%.lua$")
    for _, kind in ipairs(root and component.KINDS or {}) do
      scan_directory(root .. "tidegate/" .. kind, found, "tidegate." .. kind .. ".")
    end
  end
  return found
end

-- name → true of the modules of a kind
local function modules_of(kind)
  local names = {}
  for _, module in ipairs((list_modules or default_listing)()) do
    local name = module:match("^tidegate%." .. kind .. "%.([^.]+)$")
    if name then
      names[name] = true
    end
  end
  return names
end

-- @return the component | nil | nil, err when the module is there but fails
local function load_module(kind, name)
  local module = ("tidegate.%s.%s"):format(kind, name)
  local ok, result = pcall(require, module)
  if ok then
    return registered[kind][name]
  end
  if type(result) == "string" and result:find("module '" .. module .. "' not found", 1, true) then
    return nil
  end
  return nil, failure.wrap(result, "config"):during(("load %s %s"):format(kind, name))
end

--- Load every component of a list of module names (default: all there are), so that aliases are
-- known.  @return a list of failures
function component.load_all(names)
  local problems = {}
  for _, kind in ipairs(component.KINDS) do
    local found = {}
    for _, module in ipairs(names or {}) do
      found[module:match("^tidegate%." .. kind .. "%.([^.]+)$") or ""] = true
    end
    for name in pairs(names and found or modules_of(kind)) do
      local _, err = load_module(kind, name)
      problems[#problems + 1] = err
    end
    complete[kind] = true
  end
  return problems
end

local function resolve_alias(kind, name)
  if not complete[kind] and not aliased[kind][name] then
    complete[kind] = true
    for module in pairs(modules_of(kind)) do
      load_module(kind, module)
    end
  end
  return registered[kind][aliased[kind][name]]
end

--- Find a component by its name or an alias.
-- @return the component | nil when there is none | nil, err when it is there but does not load
function component.find(kind, name)
  if not IS_KIND[kind] then
    error("no such kind of component: " .. tostring(kind), 2)
  end
  local item = registered[kind][name]
  if item then
    return item
  end
  if type(name) ~= "string" or not name:find("^[%w_%-]+$") then
    return nil
  end
  local err
  item, err = load_module(kind, name)
  if item or err then
    return item, err
  end
  return resolve_alias(kind, name)
end

--- @return the sorted names of all components of a kind, aliases included
function component.known(kind)
  resolve_alias(kind, "")
  local seen = {}
  for name in pairs(modules_of(kind)) do
    local item, err = load_module(kind, name)
    seen[name] = (item or err) and true -- others are parts of components
  end
  for name in pairs(registered[kind]) do
    seen[name] = true
  end
  for alias in pairs(aliased[kind]) do
    seen[alias] = true
  end
  return sorted(seen)
end

--- Read a metadata map by a schema, see tidegate.metadata.
component.parse_metadata = metadata.parse

--- @return whether a schema has a key of that name or alias
component.has_key = metadata.has_key

return component
