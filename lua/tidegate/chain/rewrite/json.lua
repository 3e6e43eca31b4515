-- Where in the text of a JSON document a value is, so that it can be replaced and the rest stays as it is.
--
-- Paths are keys and indexes (from 0) with dots between them; a backslash takes the next character as it is.
-- In keys `*` stands for any characters and `?` for one, and the first key counts that fits; `#` stands for
-- all items of an array.

local utf8 = require "tidegate.utf8"

local M = {}

local DEPTH_MAX = 512
local NULLS_MAX = 10000 -- put in front of an item whose index is beyond the end
local SPACE = "^[ \t\r\n]*()"

-- A key being read: its text, and the same as a pattern when it has wildcards.
local function new_key()
  return { text = {}, pattern = {}, wild = false }
end

local function finish(key)
  local step = { key = table.concat(key.text) }
  if key.wild then
    step.pattern = "^" .. table.concat(key.pattern) .. "$"
  end
  step.each = key.each and #key.text == 1
  return step
end

local function add(key, char, plain)
  local wild = not plain and (char == "*" and ".*" or char == "?" and ".")
  key.each = char == "#" and not plain
  key.wild = key.wild or wild and true
  key.text[#key.text + 1] = char
  key.pattern[#key.pattern + 1] = wild or char:gsub("%p", "%%%0")
end

--- @return list of steps | nil, what is wrong
function M.compile(path)
  local steps, key, i = {}, new_key(), 1
  if path == "" then
    return nil, "the path is empty"
  end
  while i <= #path do
    local char = path:sub(i, i)
    if char == "\\" then
      i = i + 1
      add(key, path:sub(i, i), true)
    elseif char == "." then
      steps[#steps + 1], key = finish(key), new_key()
    elseif char:find "[|@]" then
      return nil, ("%q is not possible in the path of a value to replace"):format(char)
    else
      add(key, char)
    end
    i = i + 1
  end
  steps[#steps + 1] = finish(key)
  for _, step in ipairs(steps) do
    if not step.each and step.key:find("#", 1, true) and not path:find("\\#", 1, true) then
      return nil, "queries (#) are not possible in the path of a value to replace"
    end
  end
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

-- The members of the object or array at `at`, one after the other.
-- @return function() → name or index (text), where the value begins | nil
local function members(text, at)
  local is_object = text:sub(at, at) == "{"
  local index = -1
  at = (is_object or text:sub(at, at) == "[") and text:match(SPACE, at + 1) or nil
  return function()
    if index >= 0 then
      local last = at and value_end(text, at)
      at = last and text:match("^[ \t\r\n]*,[ \t\r\n]*()", last + 1)
    end
    index = index + 1
    local name = tostring(index)
    if at and is_object then
      local ends = text:sub(at, at) == '"' and string_end(text, at)
      name = ends and unescape(text:sub(at + 1, ends - 1))
      at = ends and text:match("^[ \t\r\n]*:[ \t\r\n]*()", ends + 1)
    elseif at and text:find("^[%]}]", at) then
      at = nil
    end
    if at then
      return name, at
    end
  end
end

-- Where the value of a key or index begins inside the object or array at `at`, or nil.
local function member(text, at, step)
  for name, value in members(text, at) do
    if name == step.key or step.pattern and name:find(step.pattern) then
      return value
    end
  end
end

-- Gather the positions of all values that steps from `i` on lead to.
local function gather(steps, i, text, at, found)
  if i > #steps then
    local last = value_end(text, at)
    if last then
      found[#found + 1] = { at, last }
    end
  elseif steps[i].each then
    for _, value in members(text, text:sub(at, at) == "[" and at or #text + 1) do
      gather(steps, i + 1, text, value, found)
    end
  else
    local value = member(text, at, steps[i])
    if value then
      gather(steps, i + 1, text, value, found)
    end
  end
  return found
end

local function is_plural(steps)
  for _, step in ipairs(steps) do
    if step.each then
      return true
    end
  end
  return false
end

--- Find a value.
-- @param steps as of compile()
-- @return first and last position, its text (of strings: without quotes) | nil: it is not there.  Of several
--   values: positions of the first, and all of them as an array
function M.find(steps, text)
  local found = gather(steps, 1, text, text:match(SPACE), {})
  if not found[1] then
    return nil
  end
  local first, last = found[1][1], found[1][2]
  if is_plural(steps) then
    local raws = {}
    for i, place in ipairs(found) do
      raws[i] = text:sub(place[1], place[2])
    end
    return first, last, "[" .. table.concat(raws, ",") .. "]"
  end
  local raw = text:sub(first, last)
  return first, last, raw:sub(1, 1) == '"' and unescape(raw:sub(2, -2)) or raw
end

-- What steps from `i` on need around a value that is not there at all.
local function build(steps, i, value)
  local step = steps[i]
  if not step then
    return value
  end
  local inner = build(steps, i + 1, value)
  local index = tonumber(step.key:match "^%d+$" or step.key == "-1" and 0 or nil)
  if index then
    return inner and index <= NULLS_MAX and "[" .. ("null,"):rep(index) .. inner .. "]" or nil
  end
  return inner and "{" .. M.quote(step.key) .. ":" .. inner .. "}"
end

-- Add a member that is not there to the object or array at `at`.  @return position, text to insert | nil
local function addition(steps, i, text, at, last, value)
  local inner = build(steps, i + 1, value)
  local count = 0
  for _ in members(text, at) do
    count = count + 1
  end
  local comma = count > 0 and "," or ""
  if not inner then
    return nil
  elseif text:sub(at, at) == "{" then
    return last, comma .. M.quote(steps[i].key) .. ":" .. inner
  end
  local index = steps[i].key == "-1" and count or tonumber(steps[i].key:match "^%d+$")
  if not index or index - count > NULLS_MAX then
    return nil
  end
  return last, comma .. ("null,"):rep(index - count) .. inner
end

-- Put a value where there is none, with whatever is missing on the way.
local function create(steps, text, value)
  local at = text:match(SPACE)
  for i = 1, #steps do
    local last = value_end(text, at)
    if not last or steps[i].pattern then
      return nil
    elseif not text:find("^[{[]", at) then -- a number, a text …: in the way
      local whole = build(steps, i, value)
      return whole and text:sub(1, at - 1) .. whole .. text:sub(last + 1)
    end
    local next_at = member(text, at, steps[i])
    if not next_at then
      local place, added = addition(steps, i, text, at, last, value)
      return place and text:sub(1, place - 1) .. added .. text:sub(place)
    end
    at = next_at
  end
end

--- Set a value: where it is, or in a new place for it.
-- @param value JSON
-- @return the new text | nil: there is no place for it
function M.set(steps, text, value)
  if steps[#steps].each then -- the number of items
    return nil
  end
  local found = gather(steps, 1, text, text:match(SPACE), {})
  if not found[1] and not is_plural(steps) then
    return create(steps, text, value)
  end
  for i = #found, 1, -1 do
    text = text:sub(1, found[i][1] - 1) .. value .. text:sub(found[i][2] + 1)
  end
  return text
end

local QUOTED = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

--- @return the text as a string of JSON
function M.quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    return QUOTED[char] or ("\\u%04x"):format(char:byte())
  end) .. '"'
end

return M
