-- From any notation of a configuration to any other.

local failure = require "tidegate.failure"
local lua_writer = require "tidegate.config.lua_writer"
local schema = require "tidegate.config.schema"
local url_writer = require "tidegate.config.url_writer"
local validate = require "tidegate.config.validate"
local writer = require "tidegate.config.writer"

local M = {}

--- What a configuration can be converted to.
M.FORMATS = { "yaml", "json", "lua", "url" }

-- Metadata keys keep their spelling, unlike in what -O prints.
local function without_case(marks)
  return setmetatable({}, { __index = function(_, value)
    local mark = marks and marks[value]
    return mark and mark.list and { list = true } or nil
  end })
end

local function find_code(value, path, found)
  if type(value) == "function" then
    found[#found + 1] = failure.new("config", path .. " is a function, which only a script can hold")
  elseif type(value) == "table" then
    for key, item in pairs(value) do
      local step = type(key) == "number" and ("[%d]"):format(key - 1) or "." .. tostring(key)
      find_code(item, path .. step, found)
    end
  end
end

-- What scripts define lives in them alone.
local function code_of(config)
  local found = {}
  for _, list in ipairs(schema.LISTS) do
    for _, item in ipairs(config[list] or {}) do
      if item.scripted then
        found[#found + 1] = failure.new("config",
          ("%s %s is defined by a script; list the script under scripts: instead"):format(list, item.name or ""))
      end
      find_code(item, list, found)
    end
  end
  return found
end

-- A parameter of a URL is given to all parts of a service or node.  In a file it is where it is read.
local function drop_copies(config, marks)
  local copies = {}
  validate.check(config, marks, {
    missing = "warning",
    incomplete = true,
    on_copy = function(map, key)
      copies[#copies + 1] = { map, key }
    end,
  })
  for _, copy in ipairs(copies) do
    copy[1][copy[2]] = nil
  end
end

--- Write a configuration in another notation.  It is changed on the way: what URLs said twice is said once.
-- @param marks of the reader
-- @return text | nil, a list of failures
function M.write(config, format, marks)
  local found = code_of(config)
  if #found > 0 then
    return nil, found
  elseif format == "url" then
    return url_writer.write(config)
  end
  drop_copies(config, marks)
  if format == "lua" then
    return lua_writer.write(config)
  end
  return writer.write(config, format, without_case(marks))
end

return M
