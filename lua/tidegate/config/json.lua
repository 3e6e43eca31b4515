-- JSON text to the same tree of nodes as tidegate.config.yaml makes, lines included.

local failure = require "tidegate.failure"
local utf8 = require "tidegate.utf8"

local M = {}

local MAX_DEPTH = 200

local ESCAPES = {
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}

local methods = {}
local mt = { __name = "tidegate.config.json", __index = methods }

function methods:line_at(at)
  local line = self.line
  for _ in self.text:sub(self.counted, at - 1):gmatch("\n") do
    line = line + 1
  end
  self.line, self.counted = line, at
  return line
end

function methods:fail(message)
  error(failure.new("config", message, { line = self:line_at(self.at) }), 0)
end

function methods:skip()
  self.at = self.text:match("^[ \t\r\n]*()", self.at)
  return self.text:sub(self.at, self.at)
end

function methods:found()
  local found = self.text:match("^[%w.+-]+", self.at) or self.text:sub(self.at, self.at)
  return found == "" and "the end" or ("%q"):format(found)
end

function methods:expect(char)
  if self:skip() ~= char then
    self:fail(("%q expected, not %s"):format(char, self:found()))
  end
  self.at = self.at + 1
end

function methods:unicode()
  local high = tonumber(self.text:match("^u(%x%x%x%x)", self.at) or self:fail("bad \\u escape"), 16)
  self.at = self.at + 5
  if high < 0xd800 or high > 0xdfff then
    return utf8.encode(high)
  end
  local low = tonumber(self.text:match("^\\u(%x%x%x%x)", self.at) or "0", 16)
  if high > 0xdbff or low < 0xdc00 or low > 0xdfff then
    return "\239\191\189"
  end
  self.at = self.at + 6
  return utf8.pair(high, low)
end

function methods:string()
  local parts = {}
  self.at = self.at + 1
  while true do
    local plain, stop = self.text:match('^([^"\\%c]*)()', self.at)
    parts[#parts + 1] = plain
    self.at = stop
    local char = self.text:sub(stop, stop)
    if char == '"' then
      self.at = stop + 1
      return table.concat(parts)
    elseif char == "\127" then
      parts[#parts + 1] = char
      self.at = stop + 1
    elseif char ~= "\\" then
      self:fail("a text without an end")
    else
      self.at = stop + 1
      local escape = self.text:sub(self.at, self.at)
      if escape == "u" then
        parts[#parts + 1] = self:unicode()
      else
        parts[#parts + 1] = ESCAPES[escape] or self:fail("unknown escape \\" .. escape)
        self.at = self.at + 1
      end
    end
  end
end

function methods:list(node)
  self.at = self.at + 1
  if self:skip() == "]" then
    self.at = self.at + 1
    return node
  end
  while true do
    node[#node + 1] = self:node()
    if self:skip() == "]" then
      self.at = self.at + 1
      return node
    end
    self:expect(",")
  end
end

function methods:map(node)
  node.entries = {}
  self.at = self.at + 1
  if self:skip() == "}" then
    self.at = self.at + 1
    return node
  end
  while true do
    if self:skip() ~= '"' then
      self:fail("a key in double quotes expected")
    end
    local line = self:line_at(self.at)
    local key = self:string()
    self:expect(":")
    node.entries[#node.entries + 1] = { key = key, line = line, node = self:node() }
    if self:skip() == "}" then
      self.at = self.at + 1
      return node
    end
    self:expect(",")
  end
end

function methods:word(node)
  local word, stop = self.text:match("^([%w.+-]+)()", self.at)
  if word == "true" or word == "false" then
    node.value = word == "true"
  elseif word == "null" then
    node.kind = "null"
  elseif word and word:find("^%-?%d") and word:find("^[%d.eE+-]+$") and tonumber(word) then
    node.value = tonumber(word)
  else
    self:fail("a value expected, not " .. self:found())
  end
  self.at = stop
  return node
end

function methods:node()
  self.depth = self.depth + 1
  if self.depth > MAX_DEPTH then
    self:fail("nested too deeply")
  end
  local char = self:skip()
  local node = { kind = "scalar", line = self:line_at(self.at) }
  if char == "{" then
    node.kind = "map"
    self:map(node)
  elseif char == "[" then
    node.kind = "list"
    self:list(node)
  elseif char == '"' then
    node.value = self:string()
  else
    self:word(node)
  end
  self.depth = self.depth - 1
  return node
end

local function document(self)
  local node = self:node()
  if self:skip() ~= "" then
    self:fail("more text after the end of the value")
  end
  return node
end

--- Parse a JSON text.
-- @return root node, {} | nil, failure with `line`
function M.parse(text)
  local self = setmetatable({ text = text, at = 1, line = 1, counted = 1, depth = 0 }, mt)
  if text:sub(1, 3) == "\239\187\191" then
    self.at = 4
  end
  local ok, node = pcall(document, self)
  if not ok then
    return nil, failure.is(node) and node or failure.new("config", tostring(node))
  end
  return node, {}
end

return M
