-- The grammar of rules: text → tree.
--
--   rule  = or            or    = and { "||" and }        and = unary { "&&" unary }
--   unary = "!" unary | "(" or ")" | call                 call = NAME "(" STRING { "," STRING } [","] ")"
--
-- Strings, comments and line breaks are Go's.  A node of the tree is
-- { kind = "or" | "and" | "not" | "call", at = byte position, [1], [2] …, name, args = { {at, value} } }.

local failure = require "tidegate.failure"
local utf8 = require "tidegate.utf8"

local string_byte = string.byte
local string_find = string.find
local string_sub = string.sub

local M = {}

-- Places -----------------------------------------------------------------------------------------

--- Make an error that says where in a rule it is.
-- @param at byte position, from 1
-- @return failure with `line` and `column` (in characters)
function M.fail(text, at, message, ...)
  if select("#", ...) > 0 then
    message = message:format(...)
  end
  local line, from = 1, 1
  for stop in text:sub(1, at - 1):gmatch "()\n" do
    line, from = line + 1, stop + 1
  end
  local _, inner = text:sub(from, at - 1):gsub("[\128-\191]", "")
  local column = at - from - inner + 1
  local place = text:find("\n", 1, true) and ("line %d, column %d"):format(line, column)
    or ("column %d"):format(column)
  return failure.new("config", ("rule, %s: %s"):format(place, message), {
    at = at, line = line, column = column,
  })
end

local function stop(self, at, message, ...)
  error(M.fail(self.text, at, message, ...), 0)
end

-- Tokens -----------------------------------------------------------------------------------------

local SIMPLE = { ["("] = true, [")"] = true, [","] = true, ["!"] = true }

local ESCAPES = {
  a = "\a", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", v = "\v", ["\\"] = "\\", ['"'] = '"',
}

local HEX_DIGITS = { x = 2, u = 4, U = 8 }

-- @return what the escape at `at` (a backslash) stands for, and where it ends
local function read_escape(self, at)
  local text = self.text
  local letter = string_sub(text, at + 1, at + 1)
  if ESCAPES[letter] and letter ~= "" then
    return ESCAPES[letter], at + 2
  end

  local digits = HEX_DIGITS[letter]
  if digits then
    local hex = string_sub(text, at + 2, at + 1 + digits)
    local value = #hex == digits and not string_find(hex, "%X") and tonumber(hex, 16)
    if not value then
      stop(self, at, "\\%s needs %d hexadecimal digits", letter, digits)
    elseif letter == "x" then
      return string.char(value), at + 2 + digits
    elseif value > 0x10ffff or value >= 0xd800 and value <= 0xdfff then
      stop(self, at, "there is no such character")
    end
    return utf8.encode(value), at + 2 + digits
  end

  local octal = text:match("^[0-7][0-7][0-7]", at + 1)
  if octal and tonumber(octal, 8) < 256 then
    return string.char(tonumber(octal, 8)), at + 4
  end
  stop(self, at, "unknown escape sequence")
end

local function read_quoted(self, from)
  local parts, at = {}, from + 1
  while true do
    local next_at = string_find(self.text, '["\\\n]', at)
    local c = next_at and string_sub(self.text, next_at, next_at)
    if not next_at or c == "\n" then
      stop(self, from, "the string does not end")
    end
    parts[#parts + 1] = string_sub(self.text, at, next_at - 1)
    if c == '"' then
      return table.concat(parts), next_at + 1
    end
    parts[#parts + 1], at = read_escape(self, next_at)
  end
end

local function read_raw(self, from)
  local to = string_find(self.text, "`", from + 1, true)
  if not to then
    stop(self, from, "the string does not end")
  end
  return (string_sub(self.text, from + 1, to - 1):gsub("\r", "")), to + 1
end

-- Skip blanks and comments.  @return whether a line ended on the way
local function skip(self)
  local text, at, broken = self.text, self.at, false
  while true do
    local to = select(2, string_find(text, "^[ \t\r]+", at))
    if to then
      at = to + 1
    elseif string_byte(text, at) == 10 then
      at, broken = at + 1, true
    elseif string_sub(text, at, at + 1) == "//" then
      at = string_find(text, "\n", at, true) or #text + 1
    elseif string_sub(text, at, at + 1) == "/*" then
      to = select(2, string_find(text, "*/", at + 2, true))
      if not to then
        stop(self, at, "the comment does not end")
      end
      broken = broken or string_find(string_sub(text, at, to), "\n", 1, true) ~= nil
      at = to + 1
    else
      self.at = at
      return broken
    end
  end
end

local function read_token(self)
  local text, at = self.text, self.at
  local c = string_sub(text, at, at)
  local two = string_sub(text, at, at + 1)
  if c == "" then
    return "end", nil, at
  elseif two == "||" or two == "&&" then
    return two, nil, at + 2
  elseif two == "!=" or two == "==" or c == "<" or c == ">" or c == "=" then
    stop(self, at, "comparisons are written as a function: Header(`Name`, `gt`, `5`)")
  elseif SIMPLE[c] then
    return c, nil, at + 1
  elseif c == "`" then
    return "string", read_raw(self, at)
  elseif c == '"' then
    return "string", read_quoted(self, at)
  elseif c == "'" then
    stop(self, at, "strings are quoted by ` or \", not by '")
  elseif string_find(c, "[%d.+-]") then
    stop(self, at, "numbers must be quoted")
  elseif c == "&" or c == "|" then
    stop(self, at, "a single %s means nothing here; write %s%s", c, c, c)
  end
  local name = text:match("^[%a_\128-\255][%w_\128-\255]*", at)
  if not name then
    stop(self, at, "unexpected character %q", c)
  end
  return "name", name, at + #name
end

-- What may be followed by a line break: as in Go, a line that ends in anything else ends the rule.
local GOES_ON = { ["||"] = true, ["&&"] = true, ["!"] = true, ["("] = true, [","] = true }

-- Move to the next token: self.token, self.value, self.from.
local function advance(self)
  local before = self.token
  local broken = skip(self)
  self.from = self.at
  if broken and before and not GOES_ON[before] and self.at <= #self.text then
    stop(self, self.at, "a rule goes on in the next line only after an operator, a ( or a comma")
  end
  self.token, self.value, self.at = read_token(self)
end

local NAMES = { ["end"] = "the end", string = "a string" }

local function found(self)
  return self.token == "name" and ("%q"):format(self.value) or NAMES[self.token] or self.token
end

local function expect(self, token, what)
  if self.token ~= token then
    stop(self, self.from, "%s expected, not %s", what, found(self))
  end
  advance(self)
end

-- Grammar ----------------------------------------------------------------------------------------

local parse_or

local function parse_call(self)
  local node = { kind = "call", name = self.value, at = self.from, args = {} }
  advance(self)
  if self.token ~= "(" then
    stop(self, node.at, "%q is not a function call", node.name)
  end
  advance(self)
  while self.token ~= ")" do
    local arg = { at = self.from, value = self.value }
    expect(self, "string", #node.args == 0 and "a string" or "a string or )")
    node.args[#node.args + 1] = arg
    if self.token == "," then
      advance(self)
    elseif self.token ~= ")" then
      stop(self, self.from, "a comma or ) expected, not %s", found(self))
    end
  end
  advance(self)
  return node
end

local MAX_DEPTH = 200

local function parse_unary(self)
  self.depth = self.depth + 1
  if self.depth > MAX_DEPTH then
    stop(self, self.from, "nested too deeply")
  end
  local node
  if self.token == "!" then
    local at = self.from
    advance(self)
    node = { kind = "not", at = at, parse_unary(self) }
  elseif self.token == "(" then
    advance(self)
    node = parse_or(self)
    expect(self, ")", "an operator or )")
  elseif self.token == "name" then
    node = parse_call(self)
  else
    stop(self, self.from, "a function expected, not %s", found(self))
  end
  self.depth = self.depth - 1
  return node
end

local function parse_list(self, kind, operator, part)
  local first = part(self)
  if self.token ~= operator then
    return first
  end
  local node = { kind = kind, at = first.at, first }
  while self.token == operator do
    advance(self)
    node[#node + 1] = part(self)
  end
  return node
end

local function parse_and(self)
  return parse_list(self, "and", "&&", parse_unary)
end

function parse_or(self)
  return parse_list(self, "or", "||", parse_and)
end

local function parse(self)
  advance(self)
  if self.token == "end" then
    stop(self, self.from, "the rule is empty")
  end
  local node = parse_or(self)
  if self.token ~= "end" then
    stop(self, self.from, "an operator (&& or ||) expected, not %s", found(self))
  end
  return node
end

--- Parse a rule.  @return tree | nil, err
function M.parse(text)
  -- the rule is trimmed first, so line breaks around it mean nothing
  local self = { text = (text:gsub("%s+$", "")), at = text:find "%S" or 1, depth = 0 }
  local ok, result = pcall(parse, self)
  if ok then
    return result
  elseif failure.is(result) then
    return nil, result
  end
  error(result, 0)
end

return M
