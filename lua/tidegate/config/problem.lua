-- A problem of a configuration: where and what.  { file, line, path, message, severity, late }
--
-- severity is "error" or "warning"; `late` marks what gost would not mind, so that -O prints all
-- the same and only starting (or checking) stops.

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
  return table.concat(parts, ": ")
end

--- Make a plain table print itself.
function problem.bless(item)
  return setmetatable(item, mt)
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
