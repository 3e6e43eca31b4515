-- Where in the text of a JSON document a value is, so that it can be replaced and the rest stays as it is.
--
-- Paths are keys and indexes (from 0) with dots between them; a backslash takes the next character as it is.

local utf8 = require "tidegate.utf8"

local M = {}

local DEPTH_MAX = 512
local SPACE = "^[ \t\r\n]*()"

--- @return list of keys | nil, what is wrong
function M.compile(path)
  local steps, key, i = {}, {}, 1
  if path == "" then
    return nil, "the path is empty"
  end
  while i <= #path do
    local char = path:sub(i, i)
    if char == "\\" then
      i = i + 1
      key[#key + 1] = path:sub(i, i)
    elseif char == "." then
      steps[#steps + 1], key = table.concat(key), {}
    elseif char:find "[#*?|@]" then
      return nil, ("%q is not possible in the path of a value to replace"):format(char)
    else
      key[#key + 1] = char
    end
    i = i + 1
  end
  steps[#steps + 1] = table.concat(key)
  return steps
end

local ESCAPES = { n = "\n", t = "\t", r = "\r", b = "\b", f = "\f" }

-- The text of a string without its quotes.
local function unescape(raw)
  if not raw:find("\\", 1, true) then
    return raw
  end
  raw = raw:gsub("\\u([dD][89abAB]%x%x)\\u([dD][c-fC-F]%x%x)", function(high, low)
    return utf8.pair(tonumber(high, 16), tonumber(low, 16))
  end)
  return (raw:gsub("\\(.)(%x?%x?%x?%x?)", function(char, digits)
    if char == "u" and #digits == 4 then
      return utf8.encode(tonumber(digits, 16))
    end
    return (ESCAPES[char] or char) .. digits
  end))
end

-- The end of the string that begins at `at`, or nil.
local function string_end(text, at)
  local i = at + 1
  while true do
    local found = text:find('["\\]', i)
    if not found then
      return nil
    elseif text:byte(found) == 34 then
      return found
    end
    i = found + 2
  end
end

-- The end of the value that begins at `at`, or nil.  Brackets are counted, not matched.
local function value_end(text, at)
  local char = text:sub(at, at)
  if char == '"' then
    return string_end(text, at)
  elseif char ~= "{" and char ~= "[" then
    local last = text:match("^[%w+%-.]+()", at)
    return last and last - 1
  end
  local depth, i = 0, at
  while true do
    local found = text:find('["{}%[%]]', i)
    if not found then
      return nil
    end
    local byte = text:sub(found, found)
    if byte == '"' then
      found = string_end(text, found)
      if not found then
        return nil
      end
    elseif byte == "{" or byte == "[" then
      depth = depth + 1
      if depth > DEPTH_MAX then
        return nil
      end
    else
      depth = depth - 1
      if depth == 0 then
        return found
      end
    end
    i = found + 1
  end
end

-- Where the value of a key or index begins inside the object or array at `at`, or nil.
local function member(text, at, key)
  local is_object = text:sub(at, at) == "{"
  if not is_object and text:sub(at, at) ~= "[" then
    return nil
  end
  local index = 0
  at = text:match(SPACE, at + 1)
  while true do
    local name = tostring(index)
    if is_object then
      local ends = text:sub(at, at) == '"' and string_end(text, at)
      if not ends then
        return nil
      end
      name = unescape(text:sub(at + 1, ends - 1))
      at = text:match("^[ \t\r\n]*:[ \t\r\n]*()", ends + 1)
    end
    if not at or name == key then
      return at
    end
    local last = value_end(text, at)
    at = last and text:match("^[ \t\r\n]*,[ \t\r\n]*()", last + 1)
    if not at then
      return nil
    end
    index = index + 1
  end
end

--- Find a value.
-- @param steps as of compile()
-- @return first and last position, its text (of strings: without quotes) | nil: it is not there
function M.find(steps, text)
  local at = text:match(SPACE)
  for _, key in ipairs(steps) do
    at = member(text, at, key)
    if not at then
      return nil
    end
  end
  local last = value_end(text, at)
  if not last then
    return nil
  end
  local raw = text:sub(at, last)
  return at, last, raw:sub(1, 1) == '"' and unescape(raw:sub(2, -2)) or raw
end

--- Where a member could be added that is not there: its object must be.
-- @return position to insert at, what to put in front of the value | nil
function M.place_for(steps, text)
  local at = text:match(SPACE)
  for i = 1, #steps - 1 do
    at = member(text, at, steps[i])
    if not at then
      return nil
    end
  end
  local last = text:sub(at, at) == "{" and value_end(text, at)
  if not last or text:sub(last, last) ~= "}" then
    return nil
  end
  local empty = text:match("^[ \t\r\n]*}", at + 1) ~= nil
  return last, (empty and "" or ",") .. M.quote(steps[#steps]) .. ":"
end

local QUOTED = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

--- @return the text as a string of JSON
function M.quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    return QUOTED[char] or ("\\u%04x"):format(char:byte())
  end) .. '"'
end

return M
