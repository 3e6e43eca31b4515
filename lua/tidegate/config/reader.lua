-- A tree of nodes (tidegate.config.yaml, .json) or a Lua table to a configuration, by the schema.
--
-- Three modes, as gost has two: "file" (keys without case, generous with scalars), "json" (inline
-- JSON: strict), "lua" (tables of a script: a number where a duration belongs means seconds).
-- Durations become seconds.  Positions stay beside the configuration, in `marks`: table → { file,
-- line, lines = { key or index → line }, lowered } so that the configuration is plain data.

local duration = require "tidegate.config.duration"
local nearest = require "tidegate.config.nearest"
local schema = require "tidegate.config.schema"

local reader = {}

local methods = {}
local mt = { __name = "tidegate.config.reader", __index = methods }

local KINDS = { map = "a map", list = "a list", null = "nothing" }

local LEAST_NS = 1000000 -- a number of nanoseconds below this was meant to be seconds

local TRUE = { ["1"] = true, t = true, T = true, TRUE = true, ["true"] = true, True = true }
local FALSE = { ["0"] = true, f = true, F = true, FALSE = true, ["false"] = true, False = true,
  [""] = true }

function methods:problem(node, path, message, severity)
  self.problems[#self.problems + 1] = {
    file = self.file,
    line = node and node.line,
    path = path,
    message = message,
    severity = severity or "error",
  }
end

function methods:mark(made, node, path)
  self.marks[made] = { file = self.file, line = node.line, path = path, lines = {} }
  return self.marks[made]
end

local function describe(node)
  if node.kind ~= "scalar" then
    return KINDS[node.kind]
  end
  if type(node.value) == "string" then
    return ("%q"):format(node.value)
  end
  return tostring(node.value)
end

-- A whole number in Go's base 0 syntax.
local function integer(text)
  local sign, body = text:match("^%s*([+-]?)(%w+)%s*$")
  if not sign then
    return nil
  end
  local value
  if body:find("^0[xX]%x+$") then
    value = tonumber(body:sub(3), 16)
  elseif body:find("^0[oO]?[0-7]+$") then
    value = tonumber(body:match("^0[oO]?(.*)$"), 8)
  elseif body:find("^%d+$") then
    value = tonumber(body, 10)
  end
  return value and (sign == "-" and -value or value)
end

local function text_of(value)
  if type(value) == "number" then
    return value == math.floor(value) and math.abs(value) < 1e15 and ("%d"):format(value)
      or ("%.14g"):format(value)
  end
  return value and "1" or "0"
end

local EXPECTED = {
  string = "a text", int = "a whole number", bool = "true or false", dur = "a duration like 30s",
}

-- type → function(self, value) → value | nil, what is wrong if that is known
local scalars = {}

function scalars:string(value)
  if type(value) == "string" then
    return value
  elseif self.mode == "json" then
    return nil
  end
  return text_of(value)
end

function scalars:int(value)
  if type(value) == "number" then
    return value >= 0 and math.floor(value) or math.ceil(value)
  elseif self.mode ~= "json" and type(value) == "boolean" then
    return value and 1 or 0
  elseif self.mode ~= "json" and value == "" then
    return 0
  end
  return type(value) == "string" and integer(value) or nil -- also in JSON: clients written for gost send "1"
end

function scalars:bool(value)
  if type(value) == "boolean" then
    return value
  elseif type(value) == "string" and (self.mode ~= "json" or value ~= "") and (TRUE[value] or FALSE[value]) then
    return TRUE[value] or false
  elseif self.mode ~= "json" and type(value) == "number" then
    return value ~= 0
  end
  return nil
end

function scalars:dur(value)
  if type(value) == "number" then
    return self.mode == "lua" and value or value / 1e9
  elseif type(value) == "string" then
    if value == "" then
      return nil
    end
    local seconds, why = duration.parse(value)
    if seconds then
      return seconds
    end
    return nil, why
  end
  return nil
end

function methods:scalar(kind, node, path)
  if node.kind ~= "scalar" then
    self:problem(node, path, ("must be %s, not %s"):format(EXPECTED[kind], describe(node)))
    return nil
  end
  local value, why = scalars[kind](self, node.value)
  if value == nil then
    self:problem(node, path, why and ("%s %s"):format(describe(node), why)
      or ("must be %s, not %s"):format(EXPECTED[kind], describe(node)))
  elseif kind == "dur" and self.mode ~= "lua" and type(node.value) == "number" and value ~= 0
    and math.abs(node.value) < LEAST_NS then
    self:problem(node, path, ("%g means nanoseconds; did you mean %gs?"):format(node.value, node.value), "warning")
  end
  return value
end

-- Free data (metadata): plain Lua values, marks on every table.
function methods:free(node, path)
  if node.kind == "scalar" then
    return node.value
  elseif node.kind == "null" then
    return nil
  end
  local made = {}
  local mark = self:mark(made, node, path)
  if node.kind == "list" then
    for _, item in ipairs(node) do
      made[#made + 1] = self:free(item, ("%s[%d]"):format(path, #made))
      mark.lines[#made] = item.line
    end
    mark.list = true
    return made
  end
  mark.lowered = self.mode == "file" or nil
  for _, entry in ipairs(node.entries) do
    made[entry.key] = self:free(entry.node, path .. "." .. entry.key)
    mark.lines[entry.key] = entry.line
  end
  return made
end

function methods:map(node, path)
  if node.kind ~= "map" then
    if not (node.kind == "list" and #node == 0) then
      self:problem(node, path, "must be a map, not " .. describe(node))
    end
    return nil
  end
  return self:free(node, path)
end

function methods:texts(node, path)
  local made = self:map(node, path)
  for key, value in pairs(made or {}) do
    if type(value) == "table" then
      self:problem(node, path .. "." .. key, "must be a text, not a map or list")
      made[key] = nil
    elseif type(value) ~= "string" then
      made[key] = text_of(value)
    end
  end
  return made
end

function methods:list(item_type, node, path)
  local made = {}
  local mark = self:mark(made, node, path)
  local items = node
  if node.kind ~= "list" then
    local is_object = schema.object(item_type) ~= nil
    if self.mode == "json" or node.kind == "map" and not is_object then
      self:problem(node, path, "must be a list, not " .. describe(node))
      return nil
    end
    items = node.kind == "map" and #node.entries == 0 and {} or { node }
  end
  for i, item in ipairs(items) do
    local place = ("%s[%d]"):format(path, i - 1)
    if item.kind ~= "null" then
      made[#made + 1] = self:value(item_type, item, place)
      mark.lines[#made] = item.line
    end
  end
  return made
end

-- Keys of gost v2's files, whose root is another.
local OF_V2 = { servenodes = true, chainnodes = true, retries = true, routes = true, debug = true }

function methods:unknown(kind, entry, path)
  if path == "" and OF_V2[entry.key:lower()] then
    if not self.is_v2 then
      self.is_v2 = true
      self:problem(entry, entry.key, "a key of gost v2, whose files are others: give each of ServeNodes as -L and "
        .. "each of ChainNodes as -F; `tidegate convert … --to yaml` makes a file of them", "error")
      self.problems[#self.problems].late = true
    end
    return
  end
  local known = {}
  for _, field in ipairs(kind.fields) do
    known[#known + 1] = field.name
  end
  local hint = nearest.hint(entry.key, known)
  self:problem(entry, path == "" and entry.key or path .. "." .. entry.key,
    "unknown key" .. hint, hint == "" and "warning" or "error")
  self.problems[#self.problems].late = true -- gost ignores it, so -O does not mind
end

function methods:object(kind, node, path)
  if node.kind == "scalar" and kind.bare then
    return self:mark_bare(kind, node, path)
  elseif node.kind == "list" and #node == 0 then
    return nil
  elseif node.kind ~= "map" then
    self:problem(node, path, "must be a map, not " .. describe(node))
    return nil
  end

  local made = {}
  local mark = self:mark(made, node, path)
  for _, entry in ipairs(node.entries) do
    local field = kind.by_key[entry.key:lower()]
    if not field then
      self:unknown(kind, entry, path)
    elseif entry.node.kind ~= "null" and field.type ~= "ignored" then
      local place = path == "" and field.name or path .. "." .. field.name
      made[field.name] = self:value(field.type, entry.node, place)
      mark.lines[field.name] = entry.line
    end
  end
  return made
end

function methods:mark_bare(kind, node, path)
  local made = {}
  self:mark(made, node, path)
  made[kind.bare] = self:scalar("string", node, path)
  return made
end

function methods:value(kind, node, path)
  if scalars[kind] then
    return self:scalar(kind, node, path)
  elseif kind == "map" or kind == "texts" then
    return self[kind](self, node, path)
  end
  local item = kind:match("^%[%](.+)$")
  if item then
    return self:list(item, node, path)
  end
  return self:object(schema.object(kind), node, path)
end

-- gost's file reader does not see maps of the root that hold nothing.
local function is_hollow(node)
  if node.kind ~= "map" then
    return node.kind == "null"
  end
  for _, entry in ipairs(node.entries) do
    if not is_hollow(entry.node) then
      return false
    end
  end
  return true
end

local function prune(node)
  local kept = { kind = "map", line = node.line, entries = {} }
  for _, entry in ipairs(node.entries) do
    if entry.node.kind ~= "map" then
      kept.entries[#kept.entries + 1] = entry
    elseif not is_hollow(entry.node) then
      kept.entries[#kept.entries + 1] = {
        key = entry.key, line = entry.line, node = prune(entry.node),
      }
    end
  end
  return kept
end

--- Read a tree of nodes.
-- @param options { file, mode = "file" | "json" | "lua", object = name of the object, default root,
--   marks = table to fill }
-- @return configuration, list of { file, line, path, message, severity }
function reader.read(root, options)
  local self = setmetatable({
    file = options.file,
    mode = options.mode or "file",
    marks = options.marks or {},
    problems = {},
  }, mt)
  if root.kind == "null" then
    return {}, self.problems
  end
  if root.kind == "map" and self.mode == "file" and not options.object then
    root = prune(root)
  end
  local made = self:object(schema.object(options.object or "root"), root, "")
  return made or {}, self.problems
end

local function from_lua(value, seen)
  if type(value) ~= "table" then
    return { kind = "scalar", value = value }
  elseif seen[value] then
    return { kind = "scalar", value = "<a table that contains itself>" }
  end
  seen[value] = true
  local node
  if value[1] ~= nil or next(value) == nil then
    node = { kind = "list" }
    for i, item in ipairs(value) do
      node[i] = from_lua(item, seen)
    end
  else
    node = { kind = "map", entries = {} }
    local keys = {}
    for key in pairs(value) do
      keys[#keys + 1] = tostring(key)
    end
    table.sort(keys)
    for _, key in ipairs(keys) do
      node.entries[#node.entries + 1] = { key = key, node = from_lua(value[key], seen) }
    end
  end
  seen[value] = nil
  return node
end

--- Read a Lua table; it is copied.  @return as reader.read
function reader.read_table(value, options)
  local with_mode = { mode = "lua" }
  for key, option in pairs(options) do
    with_mode[key] = option
  end
  return reader.read(from_lua(value, {}), with_mode)
end

return reader
