-- Paths into JSON texts: the subset of gjson that rules need.
--
--   name.2.other       keys of objects, indexes of arrays (from 0)
--   list.#             how many items an array has
--   list.#.name        the values of all items, as an array
--   na*.o?her          * and ? in keys stand for any run of, and for one character
--   na\.me             a backslash takes the next character as it is
--
-- The text is walked, not parsed whole: a body that was cut off still yields what came before the cut.

local utf8 = require "tidegate.utf8"

local string_byte = string.byte
local string_find = string.find
local string_sub = string.sub

local M = {}

-- Compiling ---------------------------------------------------------------------------------------

local function pattern_of(parts)
  return "^" .. table.concat(parts) .. "$"
end

-- One step of a path, from `at` up to the next dot.  @return step, where the next one begins | nil, err
local function read_step(path, at)
  local plain, parts, wild = {}, {}, false
  while at <= #path do
    local c = string_sub(path, at, at)
    if c == "." or c == "|" then
      break
    elseif c == "\\" then
      at = at + 1
      c = string_sub(path, at, at)
      if c == "" then
        return nil, "a backslash at the end of the path"
      end
      plain[#plain + 1], parts[#parts + 1] = c, c:gsub("%W", "%%%0")
    elseif c == "*" or c == "?" then
      wild = true
      parts[#parts + 1] = c == "*" and ".*" or "[^\128-\191][\128-\191]*"
    else
      plain[#plain + 1], parts[#parts + 1] = c, c:gsub("%W", "%%%0")
    end
    at = at + 1
  end
  local key = table.concat(plain)
  local step = { key = key, pattern = wild and pattern_of(parts) or nil }
  step.index = not wild and key:find "^%d+$" and tonumber(key) or nil
  step.each = not wild and key == "#"
  return step, at + 1
end

--- Compile a path.  @return path | nil, what is wrong with it (a text)
function M.compile(path)
  if path:find "^@" or path:find "[.|]@" then
    return nil, "modifiers (@…) are not supported"
  elseif path:find("#(", 1, true) then
    return nil, "queries (#(…)) are not supported"
  elseif path:find "^[%[{]" then
    return nil, "several paths at once are not supported"
  end
  local steps, at = {}, 1
  while at <= #path + 1 do
    local step, next_at = read_step(path, at)
    if not step then
      return nil, next_at
    elseif step.key == "" and not step.pattern then
      return nil, "an empty key in the path"
    end
    steps[#steps + 1], at = step, next_at
  end
  return steps
end

-- Walking -----------------------------------------------------------------------------------------

local function skip_blanks(text, at)
  return string_find(text, "[^ \t\r\n]", at) or #text + 1
end

-- @return the position after the string that begins at `at`, or nil when it does not end
local function string_end(text, at)
  local first = at + 1
  repeat
    at = string_find(text, '"', at + 1, true)
    if not at then
      return nil
    end
    local before = at - 1
    while before >= first and string_byte(text, before) == 92 do
      before = before - 1
    end
  until (at - before) % 2 == 1 -- an even number of backslashes in front
  return at + 1
end

-- @return the position after the array or object that begins at `at`, or nil
local function nested_end(text, at)
  local depth = 0
  repeat
    at = string_find(text, '[%[%]{}"]', at)
    if not at then
      return nil
    end
    local c = string_byte(text, at)
    if c == 34 then
      at = string_end(text, at)
      if not at then
        return nil
      end
    else
      depth = depth + ((c == 91 or c == 123) and 1 or -1)
      at = at + 1
    end
  until depth == 0
  return at
end

-- @return the position after the value that begins at `at`, or nil when it is cut off
local function value_end(text, at)
  local c = string_byte(text, at)
  if c == 34 then
    return string_end(text, at)
  elseif c == 123 or c == 91 then
    return nested_end(text, at)
  end
  local stop = string_find(text, "[%s,%]}]", at)
  return stop ~= at and stop or nil
end

local SIMPLE = {
  ['"'] = '"', ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}

local function pair(high, low)
  return utf8.pair(tonumber(high, 16), tonumber(low, 16))
end

-- The text of a string's inside.  Doubled backslashes are put away first, and come out last.
local function unquote(inside)
  if not string_find(inside, "\\", 1, true) then
    return inside
  end
  return (inside:gsub("\\\\", "\\u005c"):gsub('\\(["/bfnrt])', SIMPLE)
    :gsub("\\u([dD][89abAB]%x%x)\\u([dD][c-fC-F]%x%x)", pair)
    :gsub("\\u(%x%x%x%x)", function(hex)
      return utf8.encode(tonumber(hex, 16))
    end))
end

-- Call fn(key or nil, value's position, position after it or nil) for each item of the array or object
-- at `at` until it answers something.
local function each_item(text, at, fn)
  local is_object = string_byte(text, at) == 123
  at = skip_blanks(text, at + 1)
  while at <= #text do
    local key
    if string_find(text, "^[%]}]", at) then
      return nil
    elseif is_object then
      local stop = string_byte(text, at) == 34 and string_end(text, at)
      if not stop then
        return nil
      end
      key = unquote(string_sub(text, at + 1, stop - 2))
      at = skip_blanks(text, stop)
      if string_byte(text, at) ~= 58 then
        return nil
      end
      at = skip_blanks(text, at + 1)
    end
    local stop = at <= #text and value_end(text, at) or nil
    local answer = fn(key, at, stop)
    if answer ~= nil or not stop then
      return answer
    end
    at = skip_blanks(text, stop)
    if string_byte(text, at) ~= 44 then
      return nil
    end
    at = skip_blanks(text, at + 1)
  end
end

local function matches(step, key)
  if step.pattern then
    return string_find(key, step.pattern) ~= nil
  end
  return key == step.key
end

local walk

local function in_array(text, at, steps, depth)
  local step = steps[depth]
  local count, values = 0, {}
  local found = each_item(text, at, function(_, from, to)
    if step.each and depth == #steps then
      count = count + (to and 1 or 0)
    elseif step.each then
      local raw = walk(text, from, steps, depth + 1)
      values[#values + 1] = raw
    elseif step.index == count then
      return walk(text, from, steps, depth + 1) or false
    else
      count = count + 1
    end
  end)
  if step.each then
    return depth == #steps and tostring(count) or "[" .. table.concat(values, ",") .. "]"
  end
  return found or nil
end

-- @return the raw text of the value that the rest of a path leads to from the value at `at`
function walk(text, at, steps, depth)
  local c = string_byte(text, at)
  if depth > #steps then
    local to = value_end(text, at) or (c ~= 34 and c ~= 91 and c ~= 123 and #text + 1)
    return to and string_sub(text, at, to - 1) or nil
  elseif c == 91 then
    return in_array(text, at, steps, depth)
  elseif c == 123 then
    return each_item(text, at, function(key, from)
      if matches(steps[depth], key) then
        return walk(text, from, steps, depth + 1) or false
      end
    end) or nil
  end
end

-- Numbers read as gjson prints them: whole ones as they are written, others without an exponent.
local function number_text(raw)
  if not string_find(raw, "[^%d-]") then
    return raw
  end
  local value = tonumber(raw)
  if not value then
    return ""
  end
  for digits = 14, 17 do
    local text = ("%." .. digits .. "g"):format(value)
    if tonumber(text) == value then
      return string_find(text, "e", 1, true) and ("%.0f"):format(value) or text
    end
  end
end

local LITERALS = { ["true"] = "true", ["false"] = "false", null = "" }

--- Look a path up.
-- @param steps what compile() made
-- @return the value's text: strings without quotes, objects and arrays as they are written, "" for
--   null and for what is not there
function M.get(steps, text)
  local raw = walk(text, skip_blanks(text, 1), steps, 1)
  if not raw then
    return ""
  end
  local first = string_sub(raw, 1, 1)
  if first == '"' then
    return unquote(string_sub(raw, 2, -2))
  elseif first == "{" or first == "[" then
    return raw
  end
  return LITERALS[raw] or number_text(raw)
end

return M
