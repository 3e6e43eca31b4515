-- Where problems are collected while a configuration is checked.

local problem = require "tidegate.config.problem"

local methods = {}
local mt = { __name = "tidegate.config.report", __index = methods }

local M = {}

--- @param marks where each table of the configuration comes from
function M.new(marks)
  return setmetatable({ marks = marks or {}, problems = {}, seen = {} }, mt)
end

local function join(path, key)
  if key == nil then
    return path
  elseif path == "" then
    return tostring(key)
  elseif type(key) == "number" then
    return ("%s[%d]"):format(path, key - 1)
  end
  return ("%s.%s"):format(path, key)
end

--- Report something about a field of an object.
-- @param object a table of the configuration, @param key its field or nil
-- @param path what the object is called when its origin is not known
function methods:add(severity, object, key, path, message, ...)
  local mark = self.marks[object]
  local parent = mark or self.origin
  local item = {
    file = parent and parent.file,
    line = mark and (mark.lines[key] or mark.line),
    path = join(mark and mark.path or path, key),
    message = select("#", ...) > 0 and message:format(...) or message,
    severity = severity,
  }
  local id = ("%s:%s:%s:%s"):format(item.file or "", item.line or "", item.path, item.message)
  if not self.seen[id] then
    self.seen[id] = true
    self.problems[#self.problems + 1] = problem.bless(item)
  end
end

--- @see methods.add
function methods:error(...)
  self:add("error", ...)
end

--- @see methods.add
function methods:warning(...)
  self:add("warning", ...)
end

--- @return "file:line" of an object, or its path
function methods:place(object, path)
  local mark = self.marks[object]
  if not mark then
    return path
  end
  return mark.line and ("%s:%d"):format(mark.file, mark.line) or mark.file
end

return M
