-- Which requests a configured path is for: the patterns of Go's http.ServeMux, as far as one pattern
-- goes ("/ws", "/ws/", "GET /ws", "example.com/ws").

local M = {}

--- Take a pattern apart.  @return pattern | nil, what is wrong
function M.parse(text)
  local method, rest = text:match "^(%u+)[ \t]+(.*)$"
  rest = rest or text
  local host, path = rest:match "^([^/]*)(/.*)$"
  if not host then
    return nil, ("a path begins with a slash, unlike %q"):format(text)
  end
  return { method = method, host = host:lower(), path = path, subtree = path:sub(-1) == "/" }
end

-- path.Clean, but a final slash stays.
local function clean(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part == ".." then
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  local result = "/" .. table.concat(parts, "/")
  if result ~= "/" and path:find "/$" then
    result = result .. "/"
  end
  return result
end

--- A configured path as a request has it; as with Go's net/url a question mark is part of it.
function M.escape(path)
  return (path:gsub("[^%w%-_.~$&+,/:;=@]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

local function unescape(path)
  return (path:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

local function fits(pattern, path)
  if path == pattern.path then
    return true
  end
  return pattern.subtree and path:sub(1, #pattern.path) == pattern.path
end

--- @param target of the request
-- @return 200, or 404, or 307 and where to
function M.match(pattern, method, host, target)
  local path, query = target:match "^([^?]*)(.*)$"
  local authority, inner = path:match "^%a[%w+.-]*://([^/]*)(.*)$"
  if authority then
    host, path = authority, inner == "" and "/" or inner
  end
  host = host:lower():gsub(":%d+$", "")
  path = unescape(path)
  if pattern.host ~= "" and pattern.host ~= host then
    return 404
  end
  local cleaned = clean(path)
  if cleaned ~= path and path:sub(1, 1) == "/" then
    return 307, M.escape(cleaned) .. query
  end
  if pattern.subtree and path .. "/" == pattern.path then
    return 307, M.escape(pattern.path) .. query
  end
  if not fits(pattern, path) then
    return 404
  end
  local asked = method == "HEAD" and pattern.method == "GET" and "GET" or method
  if pattern.method and pattern.method ~= asked then
    return 405
  end
  return 200
end

return M
