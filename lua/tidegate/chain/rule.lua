-- Rules: boolean expressions over a request, as in `matcher.rule`.
--
--   Host(`.example.com`) && !ClientIP(`10.0.0.0/8`) || PathPrefix(`/api`)
--
-- A rule is compiled once, to closures.  A request is a table of what is known of one:
-- { network, host ("host:port"), proto, client_ip, method, path, query and header (key → text or list of
-- texts; keys of headers in lower case), body (its first bytes), ctx }.  What is absent matches nothing.

local functions = require "tidegate.chain.rule.functions"
local nearest = require "tidegate.config.nearest"
local parser = require "tidegate.chain.rule.parser"

local M = {}

local compile = {}

local function compile_all(list, self)
  local made = {}
  for i = 1, #list do
    made[i] = compile[list[i].kind](list[i], self)
  end
  return made
end

compile["or"] = function(node, self)
  local parts = compile_all(node, self)
  return function(request)
    for i = 1, #parts do
      if parts[i](request) then
        return true
      end
    end
    return false
  end
end

compile["and"] = function(node, self)
  local parts = compile_all(node, self)
  return function(request)
    for i = 1, #parts do
      if not parts[i](request) then
        return false
      end
    end
    return true
  end
end

compile["not"] = function(node, self)
  local part = compile[node[1].kind](node[1], self)
  return function(request)
    return not part(request)
  end
end

local function note(self, at, message, ...)
  self.problems[#self.problems + 1] = parser.fail(self.text, at, message, ...)
end

local function never()
  return false
end

local function count_problem(item, count)
  local wanted = item.least == item.most and tostring(item.least)
    or ("%d to %d"):format(item.least, item.most)
  return ("%s takes %s argument%s, not %d"):format(item.name, wanted, item.most == 1 and "" or "s", count)
end

function compile.call(node, self)
  local item = functions.find(node.name)
  if not item then
    note(self, node.at, "there is no function %q%s", node.name, nearest.hint(node.name, functions.NAMES))
    return never
  elseif #node.args < item.least or #node.args > item.most then
    note(self, node.at, "%s", count_problem(item, #node.args))
    return never
  end

  local args, empty = {}, false
  for i, arg in ipairs(node.args) do
    args[i] = arg.value
    if arg.value == "" then
      empty = true
      note(self, arg.at, "an argument of %s is empty", item.name)
    end
  end
  if empty then
    return never
  end
  local made, problem = functions.make(item, args, self.env)
  if not made then
    local arg = problem.argument and node.args[problem.argument]
    note(self, arg and arg.at or node.at, "%s: %s", item.name, problem.message)
    return never
  end
  self.body = self.body or item.body or false
  return made
end

local function build(text, env)
  local tree, err = parser.parse(text)
  if not tree then
    return nil, { err }
  end
  local self = { text = text, env = env or {}, problems = {}, body = false }
  local test = compile[tree.kind](tree, self)
  if #self.problems > 0 then
    return nil, self.problems
  end
  return test, self.body
end

--- Compile a rule.
-- @param env nil or { registry = where Bypass() and Admission() find their objects, when they are asked }
-- @return function(request) → bool, whether it looks at bodies | nil, err
function M.compile(text, env)
  local test, more = build(text, env)
  if not test then
    return nil, more[1]
  end
  return test, more
end

--- Find what is wrong with a rule.
-- @return list of failures with `line` and `column`; empty: it is good
function M.check(text)
  local test, more = build(text)
  return test and {} or more
end

return M
