-- A route: the nodes a connection passes through, in order.  No nodes: directly to the target.

local M = {}
local methods = {}
local mt = { __name = "tidegate.route", __index = methods }

--- Make a route of a list of nodes; the list becomes the route.
function M.new(nodes)
  return setmetatable(nodes, mt)
end

--- The route without nodes.
M.DIRECT = M.new {}

--- @return whether a value is a route
function M.is(value)
  return getmetatable(value) == mt
end

--- @return "name@addr > name@addr > target"
function methods:text(target)
  local first = self[1]
  if not first then
    return target
  elseif not self[2] then
    return first.name .. "@" .. first.addr .. " > " .. target
  end
  local parts = {}
  for i = 1, #self do
    parts[i] = self[i].name .. "@" .. self[i].addr
  end
  parts[#parts + 1] = target
  return table.concat(parts, " > ")
end

return M
