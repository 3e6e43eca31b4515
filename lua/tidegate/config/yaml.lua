-- YAML text to a tree of nodes that remember their lines.
--
-- A node is { kind, line, … }: kind "map" has `entries`, a list of { key, line, node }; "list" has
-- its items as array; "scalar" has `value` (boolean, number or string); "null" has nothing.

local failure = require "tidegate.failure"
local scalar = require "tidegate.config.scalar"
local yaml = require "yaml"

local M = {}

local MAX_DEPTH = 200
local MAX_NODES = 1000000 -- aliases count each time they are used

local methods = {}
local mt = { __name = "tidegate.config.yaml", __index = methods }

function methods:problem(line, message)
  self.problems[#self.problems + 1] = { line = line, message = message }
end

function methods:next()
  local event = self.parser()
  self.line = event.start_mark.line + 1
  return event
end

function methods:scalar(event)
  if event.tag == "!!binary" or event.tag == "tag:yaml.org,2002:binary" then
    self:problem(self.line, "binary values have no meaning here")
  end
  local plain = event.style == "PLAIN" and not event.tag
  if not plain then
    return { kind = "scalar", line = self.line, value = event.value }
  end
  local kind, value = scalar.resolve(event.value)
  if kind == "null" then
    return { kind = "null", line = self.line }
  elseif kind == "merge" then
    return { kind = "scalar", line = self.line, value = "<<", merge = true }
  end
  return { kind = "scalar", line = self.line, value = value }
end

function methods:list()
  local node = { kind = "list", line = self.line }
  while true do
    local event = self:next()
    if event.type == "SEQUENCE_END" then
      return node
    end
    node[#node + 1] = self:node(event)
  end
end

-- Put the entries of a merged map behind the own ones, which win.
function methods:merge(node, seen, source)
  if source.kind == "list" then
    for _, item in ipairs(source) do
      self:merge(node, seen, item)
    end
  elseif source.kind == "map" then
    for _, entry in ipairs(source.entries) do
      if not seen[entry.key] then
        seen[entry.key] = entry.line
        node.entries[#node.entries + 1] = entry
      end
    end
  else
    self:problem(source.line, "<< needs a map or a list of maps")
  end
end

function methods:map()
  local node = { kind = "map", line = self.line, entries = {} }
  local seen, merged = {}, {}
  while true do
    local event = self:next()
    if event.type == "MAPPING_END" then
      break
    end
    local key = self:node(event)
    local line = self.line
    local value = self:node(self:next())
    if key.merge then
      merged[#merged + 1] = value
    elseif key.kind ~= "scalar" and key.kind ~= "null" then
      self:problem(line, "a key must be a single word")
    else
      local name = key.kind == "null" and "" or tostring(key.value)
      if seen[name] then
        self:problem(line, ("%q is given twice, first on line %d"):format(name, seen[name]))
      end
      seen[name] = line
      node.entries[#node.entries + 1] = { key = name, line = line, node = value }
    end
  end
  for _, source in ipairs(merged) do
    self:merge(node, seen, source)
  end
  return node
end

function methods:node(event)
  self.depth = self.depth + 1
  self.count = self.count + 1
  if self.depth > MAX_DEPTH then
    error(failure.new("config", "nested too deeply", { line = self.line }), 0)
  elseif self.count > MAX_NODES then
    error(failure.new("config", "too many values", { line = self.line }), 0)
  end

  local node
  if event.type == "ALIAS" then
    node = self.anchors[event.anchor]
    if not node then
      error(failure.new("config", "unknown anchor *" .. event.anchor, { line = self.line }), 0)
    end
    self.count = self.count + (node.size or 1)
  elseif event.type == "SCALAR" then
    node = self:scalar(event)
  else
    local before = self.count
    node = event.type == "MAPPING_START" and self:map() or self:list()
    node.size = self.count - before + 1
  end
  if event.anchor and event.type ~= "ALIAS" then
    self.anchors[event.anchor] = node
  end
  self.depth = self.depth - 1
  return node
end

function methods:document()
  self:next() -- STREAM_START
  local event = self:next()
  if event.type == "STREAM_END" then
    return { kind = "null", line = 1 }
  end
  local node = self:node(self:next())
  self:next() -- DOCUMENT_END
  if self:next().type ~= "STREAM_END" then
    self:problem(self.line, "only the first document of a file is read")
  end
  return node
end

-- What is usually meant by what libyaml says.
local REMEDIES = {
  ["did not find expected node content"] =
    'inside of { } and [ ] a text that begins with a colon needs quotes: ":8080"',
  ["found character that cannot start any token"] = "a text that begins with @, ` or % needs quotes",
  ["did not find expected alphabetic or numeric character"] = 'a text that begins with * or & needs quotes: "*:80"',
  ["mapping values are not allowed in this context"] = "the indentation is wrong, or a text with a colon needs quotes",
  ["did not find expected key"] = "the indentation is wrong, or a quote or comma is missing",
  ["found a tab character that violates indentation"] = "indent with spaces",
  ["found unexpected end of stream"] = "a quote is not closed",
  ["could not find expected ':'"] = "a key is followed by a colon and a blank",
}

-- "did not find … at document: 1, line: 2, column: 2\nwhile parsing …"
local function explain(message)
  local text, line = message:match("^(.-) at document: %d+, line: (%d+)")
  text = text or message:match("^[^\n]*"):gsub(" at document: %d+$", "")
  if REMEDIES[text] then
    text = ("%s; %s"):format(text, REMEDIES[text])
  end
  return failure.new("config", text, { line = tonumber(line) })
end

--- Parse the first document of a text.
-- @return root node, list of { line, message } | nil, failure with `line`
function M.parse(text)
  local ok, parser = pcall(yaml.parser, text)
  if not ok then
    return nil, explain(tostring(parser))
  end
  local self = setmetatable({
    parser = parser, anchors = {}, problems = {}, depth = 0, count = 0, line = 1,
  }, mt)
  local done, node = pcall(methods.document, self)
  if not done then
    return nil, failure.is(node) and node or explain(tostring(node))
  end
  return node, self.problems
end

return M
