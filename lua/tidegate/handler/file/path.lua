-- Which file a request means, and how names are written.

local M = {}

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&#34;", ["'"] = "&#39;" }

--- Take a request's target apart.
-- @return path beneath the folder ("" is the folder itself, no slash in front), whether it ended in a slash,
--   the path as it was asked for | nil: there can be no such file
function M.parse(target)
  local path = target:gsub("^%a[%w+.-]*://[^/?#]*", ""):match "^([^?#]*)"
  if path == "" then
    path = "/"
  end
  if path:sub(1, 1) ~= "/" or path:gsub("%%%x%x", ""):find("%", 1, true) then
    return nil
  end
  local plain = path:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end)
  if plain:find("\0", 1, true) then
    return nil
  end
  local parts = {}
  for part in plain:gmatch "[^/]+" do
    if part == ".." then
      return nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return table.concat(parts, "/"), plain:sub(-1) == "/", path
end

--- A name as it stands in a link.
function M.escape(name)
  return (name:gsub("[^%w%-._~!$&'()*+,;=@/]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

--- A name as it stands in HTML.
function M.html(name)
  return (name:gsub("[&<>\"']", ENTITIES))
end

return M
