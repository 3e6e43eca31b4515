-- What a line could go on with: names, fields, and what stands in brackets, as in services["front"].handler.

local M = {}

local DEPTH = 5 -- of metatables
local MOST = 500 -- keys of one table

local KEYWORDS = {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not",
  "or", "repeat", "return", "then", "true", "until", "while",
}

local KEYWORD = {}
for _, word in ipairs(KEYWORDS) do
  KEYWORD[word] = true
end

-- One index of a chain: .name, ["text"] or [1].
-- @return key, where it ends | nil, false: none | nil, { kind, from, prefix }: it ends in the middle
local function index(line, at)
  local sign = line:sub(at, at)
  if sign == "." or sign == ":" then
    local name, after = line:match("^([%w_]*)()", at + 1)
    if after > #line then
      return nil, { kind = sign, from = at, prefix = name }
    end
    return name:find "^[%a_]" and name or nil, after
  elseif sign ~= "[" then
    return nil, false
  end
  local quote = line:match("^[\"']", at + 1)
  if quote then
    local text, after = line:match("^([^" .. quote .. "]*)" .. quote .. "%]()", at + 2)
    if text then
      return text, after
    end
    local rest = line:sub(at + 2)
    return nil, not rest:find(quote, 1, true) and { kind = quote, from = at, prefix = rest }
  end
  local number, after = line:match("^%[(%d+)%]()", at)
  if number then
    return tonumber(number), after
  end
  return nil, line:find("^%[%d*$", at) and { kind = '"', from = at, prefix = "" }
end

-- The chain of indexes that begins at a place and goes to the line's end.
-- @return keys, the last, unfinished index | nil
local function chain(line, at)
  local name, after = line:match("^([%a_][%w_]*)()", at)
  local keys = { name }
  while name and after <= #line do
    local key, next_one = index(line, after)
    if key == nil then
      return type(next_one) == "table" and keys or nil, next_one
    end
    keys[#keys + 1] = key
    after = next_one
  end
end

local function add_keys(value, found, depth)
  if type(value) == "table" then
    local count = 0
    for key in next, value do
      count = count + 1
      if count > MOST then
        break
      elseif type(key) == "string" or type(key) == "number" then
        found[key] = true
      end
    end
  end
  local mt = depth > 0 and (type(value) == "string" and getmetatable "" or debug.getmetatable(value))
  local others = type(mt) == "table" and rawget(mt, "__index")
  if type(others) == "table" then
    add_keys(others, found, depth - 1)
  end
end

-- The value that keys lead to, without calling anything but what indexing calls.
local function walk(value, keys)
  for _, key in ipairs(keys) do
    local ok, found = pcall(function()
      return value[key]
    end)
    if not ok or found == nil then
      return nil
    end
    value = found
  end
  return value
end

-- How a key is written behind what it is a key of, in the way that was begun.
local function written(key, kind)
  if type(key) == "number" then
    return kind == '"' and ("[%s]"):format(key) or nil
  elseif kind == "." or kind == ":" then
    if key:find "^[%a_][%w_]*$" and not KEYWORD[key] then
      return kind .. key
    end
    kind = '"'
  end
  return not key:find("[%c\\" .. kind .. "]") and ("[%s%s%s]"):format(kind, key, kind) or nil
end

local function begins(text, prefix)
  return type(text) == "string" and text:sub(1, #prefix) == prefix
end

local function fields(line, start, value, last)
  local found, list, base = {}, {}, line:sub(start, last.from - 1)
  add_keys(value, found, DEPTH)
  for key in pairs(found) do
    local matches = begins(key, last.prefix) or last.prefix == "" and type(key) == "number"
    local text = matches and written(key, last.kind)
    list[#list + 1] = text and base .. text or nil
  end
  table.sort(list)
  return line:sub(start), list
end

local function names(line, tables)
  local prefix, found, list = line:match "[%a_][%w_]*$" or "", {}, {}
  for _, values in ipairs(tables) do
    add_keys(values, found, 0)
  end
  for _, word in ipairs(prefix ~= "" and KEYWORDS or {}) do
    found[word] = true
  end
  for name in pairs(found) do
    list[#list + 1] = begins(name, prefix) and name:find "^[%a_][%w_]*$" and name or nil
  end
  table.sort(list)
  return prefix, list
end

--- @param line up to the cursor
-- @param env what names stand for; tables: lists of names besides
-- @return the end of the line that is being typed, a sorted list of what could stand there instead
function M.find(line, env, tables)
  for start in line:gmatch "()[%a_]" do
    local before = start > 1 and line:sub(start - 1, start - 1) or ""
    if not before:find "[%w_.:]" then
      local keys, last = chain(line, start)
      if keys then
        return fields(line, start, walk(env, keys), last)
      end
    end
  end
  if line:find "[.:%[\"'][%w_]*$" then -- of something that is no chain of names
    return "", {}
  end
  return names(line, tables)
end

return M
