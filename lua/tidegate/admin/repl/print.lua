-- Any Lua value as text for people: nested tables with limits, circles named, strings quoted.

local M = {}

local DEPTH = 2
local ITEMS = 60 -- of one table
local LINE = 76 -- a table that fits is printed on one line
local TEXT = 2000 -- bytes of a string

local function quote(text)
  local long = #text > TEXT
  local shown = ("%q"):format(long and text:sub(1, TEXT) or text):gsub("\\\n", "\\n"):gsub("\r", "\\r")
  shown = shown:gsub("[%z\1-\31\127-\255]", function(char)
    return char:byte() < 128 and ("\\%03d"):format(char:byte()) or char
  end)
  return long and ("%s… (%d bytes)"):format(shown, #text) or shown
end

-- Numbers first and in order, then texts, then the rest.
local function before(a, b)
  local ta, tb = type(a), type(b)
  if ta == tb and (ta == "number" or ta == "string") then
    return a < b
  elseif ta ~= tb then
    return ta == "number" or tb ~= "number" and ta < tb
  end
  return tostring(a) < tostring(b)
end

local render

local function key_text(key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" then
    return key .. " = "
  end
  return ("[%s] = "):format(type(key) == "string" and quote(key) or tostring(key))
end

-- @return list of texts, one an item
local function items_of(value, seen, depth)
  local list, count = {}, #value
  for i = 1, math.min(count, ITEMS) do
    list[i] = render(value[i], seen, depth)
  end
  local keys = {}
  for key in next, value do
    if not (type(key) == "number" and key >= 1 and key <= count and key % 1 == 0) then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, before)
  for i = 1, math.min(#keys, ITEMS) do
    list[#list + 1] = key_text(keys[i]) .. render(rawget(value, keys[i]), seen, depth)
  end
  local left = count + #keys - #list
  if left > 0 then
    list[#list + 1] = ("… and %d more"):format(left)
  end
  return list
end

local function table_text(value, seen, depth)
  local mt = getmetatable(value)
  local name = type(mt) == "table" and rawget(mt, "__name")
  if type(mt) == "table" and rawget(mt, "__tostring") then
    local ok, text = pcall(tostring, value)
    return ok and tostring(text) or "<cannot be printed>"
  elseif seen[value] then
    return "<circle>"
  elseif next(value) == nil then
    return name and name .. " {}" or "{}"
  elseif depth <= 0 then
    return (name or "{…}") .. (name and " {…}" or "")
  end
  seen[value] = true
  local list = items_of(value, seen, depth - 1)
  seen[value] = nil
  local flat = table.concat(list, ", ")
  local prefix = name and name .. " " or ""
  if #flat + #prefix <= LINE and not flat:find "\n" then
    return ("%s{ %s }"):format(prefix, flat)
  end
  return ("%s{\n  %s\n}"):format(prefix, (table.concat(list, ",\n"):gsub("\n", "\n  ")))
end

function render(value, seen, depth)
  local kind = type(value)
  if kind == "string" then
    return quote(value)
  elseif kind == "table" then
    return table_text(value, seen, depth)
  elseif kind == "function" then
    local info = debug.getinfo(value, "S")
    return info.what == "C" and tostring(value) or ("function <%s:%d>"):format(info.short_src, info.linedefined)
  end
  local ok, text = pcall(tostring, value)
  return ok and tostring(text) or "<" .. kind .. ">"
end

--- @param depth how many tables deep; default 2
function M.text(value, depth)
  return render(value, {}, depth or DEPTH)
end

--- All results of an evaluation, one a line.
-- @param results packed: n is their number
function M.results(results)
  local lines = {}
  for i = 1, results.n do
    lines[i] = M.text(results[i])
  end
  return table.concat(lines, "\n")
end

--- Rows of values as text, columns as wide as their widest.
function M.columns(rows)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, text in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, #tostring(text))
    end
  end
  for i, row in ipairs(rows) do
    local texts = {}
    for j, text in ipairs(row) do
      texts[j] = j == #row and tostring(text) or ("%-" .. widths[j] .. "s"):format(tostring(text))
    end
    lines[i] = table.concat(texts, "  ")
  end
  return table.concat(lines, "\n")
end

return M
