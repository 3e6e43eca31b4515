-- From any notation of a configuration to any other.

local failure = require "tidegate.failure"
local lua_writer = require "tidegate.config.lua_writer"
local schema = require "tidegate.config.schema"
local url_writer = require "tidegate.config.url_writer"
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

--- Write a configuration in another notation.
-- @param marks of the reader
-- @return text | nil, a list of failures
function M.write(config, format, marks)
  local found = code_of(config)
  if #found > 0 then
    return nil, found
  elseif format == "url" then
    return url_writer.write(config)
  elseif format == "lua" then
    return lua_writer.write(config)
  end
  return writer.write(config, format, without_case(marks))
end

return M
