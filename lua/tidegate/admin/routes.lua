-- Which function answers a request: by method and path, where "{name}" in a pattern is any one segment.

local M = {}
local methods = {}
local mt = { __index = methods }

--- An empty table of routes.
-- @param prefix before every path; "" or "/x"
function M.new(prefix)
  local parts = {}
  for part in (prefix or ""):gmatch "[^/]+" do
    parts[#parts + 1] = part
  end
  return setmetatable({ prefix = parts, root = {}, list = {} }, mt)
end

--- Add a route: fn(request, arguments by name) → response.
-- @param options nil or { open = true: without authentication; and for the documentation: tag, doc,
--   takes, gives (objects of the schema), query (parameter → what it means), data (an example) }
function methods:add(method, pattern, fn, options)
  local node = self.root
  for part in pattern:gmatch "[^/]+" do
    local name = part:match "^{(.*)}$"
    if name then
      node.any = node.any or { name = name }
      node = node.any
    else
      node[1] = node[1] or {}
      node[1][part] = node[1][part] or {}
      node = node[1][part]
    end
  end
  node.by_method = node.by_method or {}
  local about = options or {}
  local route = { method = method, pattern = pattern, fn = fn, open = about.open, about = about }
  node.by_method[method] = route
  self.list[#self.list + 1] = route
end

--- Find the route of a request.
-- @return route, arguments | nil, where to go instead (the path differs by a slash at its end)
function methods:find(request)
  local list, first = request.segments, #self.prefix
  for i = 1, first do
    if list[i] ~= self.prefix[i] then
      return nil
    end
  end
  local node, arguments = self.root, {}
  for i = first + 1, #list do
    local next_one = node[1] and node[1][list[i]]
    if not next_one and node.any then
      next_one = node.any
      arguments[next_one.name] = list[i]
    end
    if not next_one then
      return nil
    end
    node = next_one
  end
  local route = node.by_method and node.by_method[request.method]
  if not route then
    return nil
  end
  local slashed = #request.path > 1 and request.path:sub(-1) == "/"
  local wants_slash = route.pattern ~= "/" and route.pattern:sub(-1) == "/"
  if slashed ~= wants_slash and #list > 0 then
    return nil, slashed and request.path:gsub("/+$", "") or request.path .. "/"
  end
  return route, arguments
end

return M
