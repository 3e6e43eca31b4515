-- What can be wrong with choosing nodes, chains and hops: selectors, matchers, probes and groups.

local nearest = require "tidegate.config.nearest"
local rule = require "tidegate.chain.rule"
local selector = require "tidegate.chain.selector"

local M = {}

local function set_of(list)
  local set = { [""] = true }
  for _, name in ipairs(list) do
    set[name] = true
  end
  return set
end

local NODE, GROUP = set_of(selector.NODE_STRATEGIES), set_of(selector.GROUP_STRATEGIES)

local function check_strategy(report, object, path, options)
  local strategy = object.strategy
  local known, scripted = options.group and GROUP or NODE, options.scripted
  if not strategy or known[strategy] or not scripted or scripted.strategies[strategy] then
    return
  elseif NODE[strategy] then
    report:warning(object, "strategy", path, "%s chooses among nodes only; round is used", strategy)
  else
    report:warning(object, "strategy", path, "unknown strategy %q, round is used%s", strategy,
      nearest.hint(strategy, options.group and selector.GROUP_STRATEGIES or selector.NODE_STRATEGIES))
  end
end

-- A filter keeps connections from items they must not take, so one that is not there is no trifle.
local function check_filters(report, object, path, scripted)
  for i, name in ipairs(scripted and object.filters or {}) do
    if not scripted.filters[name] then
      local known = {}
      for one in pairs(scripted.filters) do
        known[#known + 1] = one
      end
      report:error(object.filters, i, path .. ".filters",
        "there is no filter %q%s; a script defines one with tg.filter(%q, function(items, ctx) … end)",
        name, nearest.hint(name, known), name)
    end
  end
end

--- Check a selector.
-- @param report see tidegate.config.report
-- @param options { scripted = what scripts define: { strategies, filters } by name; nil when nobody
--   knows, group = of chains or hops }
function M.selector(report, object, path, options)
  if object then
    check_strategy(report, object, path, options)
    check_filters(report, object, path, options.scripted)
  end
end

local PROBES = { [""] = true, tcp = true, http = true, cmd = true }

local function check_probe(report, probe, path)
  local kind = probe.type or ""
  if not PROBES[kind] then
    report:warning(probe, "type", path, "unknown type %q, tcp is used%s", kind,
      nearest.hint(kind, { "tcp", "http", "cmd" }))
  end
  local key = kind == "cmd" and "command" or "addr"
  if (probe[key] or "") == "" then
    report:warning(probe, nil, path, "has no %s: nothing is probed", key)
  end
end

--- Check the matcher and the probe of a node or a group's entry.
function M.conditions(report, object, path)
  local matcher = object.matcher
  if matcher and matcher.rule and matcher.rule ~= "" then
    for _, problem in ipairs(rule.check(matcher.rule)) do
      report:error(matcher, "rule", path .. ".matcher", "%s", tostring(problem))
    end
  end
  if object.probe then
    check_probe(report, object.probe, path .. ".probe")
  end
end

--- Check a chainGroup or hopGroup.
-- @param list "chains" or "hops"
function M.group(report, group, list, path, options)
  if not group then
    return
  end
  for i, entry in ipairs(group[list] or {}) do
    M.conditions(report, entry, ("%s.%s[%d]"):format(path, list, i - 1))
  end
  M.selector(report, group.selector, path .. ".selector", { scripted = options.scripted, group = true })
  local fallback = group.fallback or ""
  if fallback ~= "" and fallback ~= "direct" then
    report:error(group, "fallback", path, "%q is no fallback; direct is, or nothing", fallback)
  end
end

return M
