-- docs/reference/together.md, from the table that the matrix of components is generated from.

local component = require "tidegate.component"
local hops = require "spec.helpers.matrix_hops"
local matrix = require "spec.helpers.component_matrix"

local M = {}

local HEAD = [[
<!-- Made by ./dev docs from spec/helpers/component_matrix.lua; what is edited here is lost. -->

# What goes with what

A service is a listener and a handler, a node of a chain a dialer and a connector. The dialer must fit the listener at
the other end and the connector the handler; otherwise every transport carries every protocol, but for the exceptions.
All of these combinations, %d of them, and %d ways through two hops are part of the test suite.

]]

local function code(names)
  local list = {}
  for i, name in ipairs(names) do
    list[i] = "`" .. name .. "`"
  end
  return table.concat(list, ", ")
end

-- Items with the same `key` in one row, in order.
local function grouped(list, key, column)
  local rows, seen = {}, {}
  for _, one in ipairs(list) do
    local row = seen[one[key]]
    if not row then
      row = { one = one, names = {} }
      rows[#rows + 1], seen[one[key]] = row, row
    end
    row.names[#row.names + 1] = one[column]
  end
  return rows
end

local function transports()
  local lines = { "## Transports", "", "| listener | dialer | carries | end of one direction |", "|---|---|---|---|" }
  for _, row in ipairs(grouped(matrix.transports(), "listener", "dialer")) do
    lines[#lines + 1] = ("| `%s` | %s | %s | %s |"):format(row.one.listener, code(row.names),
      row.one.datagrams and "datagrams" or "bytes",
      row.one.datagrams and "" or row.one.half_close and "is passed on" or "is the end of both")
  end
  return lines
end

-- What is carried over a transport of bytes.
local function carries(row)
  local one, by = row.one, {}
  if one.serves then
    return "its own pages"
  elseif not one.bytes then
    return "datagrams"
  end
  for _, name in ipairs(row.names) do
    by[#by + 1] = component.find("connector", name).packets and not one.forwards and name or nil
  end
  if #by == #row.names then
    return "bytes, datagrams"
  end
  return #by > 0 and "bytes; datagrams by " .. code(by) or "bytes"
end

local function protocols()
  local lines = { "", "## Protocols", "", "| handler | connectors | carries |", "|---|---|---|" }
  for _, row in ipairs(grouped(matrix.protocols(), "handler", "connector")) do
    lines[#lines + 1] = ("| `%s` | %s | %s |"):format(row.one.handler, code(row.names), carries(row))
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = "Over the dialer `udp` the connectors `forward`, `tcp` and `unix` carry datagrams to a forwarder."
  return lines
end

-- The names a test of a rule takes, or the few that it does not.
local function names_of(kind, test)
  local yes, no = {}, {}
  for _, name in ipairs(component.known(kind)) do
    if component.find(kind, name).name == name then
      table.insert(test(name) and yes or no, name)
    end
  end
  if #yes <= #no then
    return ("%s %s"):format(kind, code(yes))
  end
  return ("%s other than %s"):format(kind, code(no))
end

local function exceptions()
  local lines = { "", "## Exceptions", "", "| what does not go together | why | |", "|---|---|---|" }
  for _, rule in ipairs(matrix.senseless) do
    local parts = {}
    for _, kind in ipairs(component.KINDS) do
      parts[#parts + 1] = rule[kind] and names_of(kind, rule[kind])
    end
    lines[#lines + 1] = ("| %s | %s | %s |"):format(table.concat(parts, ", "), rule.why,
      rule.refused and "refused at the start" or "")
  end
  lines[#lines + 1] = "\nThese stand apart:\n"
  for _, kind in ipairs(component.KINDS) do
    local names = {}
    for name in pairs(matrix.special[kind] or {}) do
      names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
      lines[#lines + 1] = ("* %s `%s`: %s."):format(kind, name, matrix.special[kind][name])
    end
  end
  return lines
end

local function two_hops()
  local lines = { "", "## From one node to the next", "", "Every transport can follow every other, but for these.", "" }
  for _, rule in ipairs(hops.senseless) do
    lines[#lines + 1] = "* " .. rule[3] .. ": " .. rule[2] .. "."
  end
  return lines
end

--- @return path → text
function M.pages()
  local count = 0
  for _, transport in ipairs(matrix.transports()) do
    count = count + #matrix.over(transport, matrix.protocols())
  end
  local text = { HEAD:format(count, #hops.all()) }
  for _, part in ipairs { transports(), protocols(), exceptions(), two_hops() } do
    text[#text + 1] = table.concat(part, "\n") .. "\n"
  end
  return { ["docs/reference/together.md"] = table.concat(text) }
end

return M
