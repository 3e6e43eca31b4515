-- A problem of a configuration: where and what.  { file, line, path, message, severity, late, of_script }
--
-- severity is "error" or "warning"; `late` marks what gost would not mind, so that -O prints all
-- the same and only starting (or checking) stops.  `of_script` says that a script did not load, so that
-- what it would have defined is missing.

local mask = require "tidegate.config.mask"

local problem = {}

local mt = { __name = "tidegate.config.problem" }

function mt:__tostring()
  local place = self.file or ""
  if self.line then
    place = ("%s:%d"):format(place, self.line)
  end
  local parts = {}
  for _, part in ipairs { place, self.path or "" } do
    if part ~= "" then
      parts[#parts + 1] = part
    end
  end
  parts[#parts + 1] = (self.severity == "warning" and "warning: " or "") .. self.message
  return mask.text(table.concat(parts, ": "))
end

--- Make a plain table print itself.
function problem.bless(item)
  return setmetatable(item, mt)
end

--- Put a list in the order of the files; what has no line comes first.
function problem.sort(list)
  local order, files = {}, 0
  for i, item in ipairs(list) do
    local file = item.file or ""
    if not order[file] then
      files = files + 1
      order[file] = files
    end
    order[item] = i
  end
  table.sort(list, function(a, b)
    local x, y = order[a.file or ""], order[b.file or ""]
    if x ~= y then
      return x < y
    elseif (a.line or 0) ~= (b.line or 0) then
      return (a.line or 0) < (b.line or 0)
    end
    return order[a] < order[b]
  end)
  return list
end

--- @return those of a list that are errors
function problem.errors(list)
  local errors = {}
  for _, item in ipairs(list) do
    if item.severity ~= "warning" then
      errors[#errors + 1] = problem.bless(item)
    end
  end
  return errors
end

--- @return whether a list holds an error; late ones count unless `early_only`
function problem.any_error(list, early_only)
  for _, item in ipairs(list) do
    if item.severity ~= "warning" and not (early_only and item.late) then
      return true
    end
  end
  return false
end

return problem
