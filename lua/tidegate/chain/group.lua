-- Several chains or hops of which each connection takes one: chainGroup and hopGroup.

local failure = require "tidegate.failure"
local filter = require "tidegate.chain.filter"
local lazy = require "tidegate.lazy"
local mark = require "tidegate.chain.mark"
local probe = lazy "tidegate.chain.probe"
local route = require "tidegate.chain.route"
local router = require "tidegate.chain.router"
local selector = require "tidegate.chain.selector"

local M = {}

-- Entries ----------------------------------------------------------------------------------------

-- An entry has failed when its probe says so or, for a chain, when connections over it failed.
local both_mt = {}
both_mt.__index = both_mt

function both_mt:failed(limits)
  return self.probed:failed(limits) or self.used ~= nil and self.used:failed(limits)
end

local function make_entry(self, config, target, visit)
  local conditions, err = filter.new(config, self.registry)
  if not conditions then
    return nil, err
  end
  local md = target.md or {}
  local id = ("%s/%d/%s"):format(self.scope, #self.entries + 1, target.name or "")
  local probed = mark.new("group/" .. id, md.maxFails, md.failTimeout)
  local entry = {
    target = target,
    test = conditions.test,
    body_size = conditions.body_size,
    mark = setmetatable({ probed = probed, used = target.mark }, both_mt),
    weight = md.weight and md.weight > 0 and md.weight or nil,
    backup = md.backup or false,
  }
  entry.probe = probe.new(config.probe, {
    id = "group/" .. id,
    label = ("%s %s of %s"):format(self.word, target.name or "", self.label),
    registry = self.registry,
    mark = probed,
    open = function(ctx, deadline)
      return visit(target, ctx, config.probe, deadline)
    end,
  })
  return entry
end

local function add_entry(self, config, target, name, visit)
  if not target then
    return nil, failure.new("config", ("no %s %q"):format(self.word, tostring(name)))
  end
  local entry, err = make_entry(self, config, target, visit)
  if not entry then
    return nil, err:during(("%s %s"):format(self.word, name))
  end
  self.entries[#self.entries + 1] = entry
  return true
end

-- Entries that take a request.
local function eligible(self, request)
  if not self.conditional then
    return self.entries
  end
  local list = {}
  for _, entry in ipairs(self.entries) do
    if not entry.test or entry.test(request) then
      list[#list + 1] = entry
    end
  end
  return list
end

local function settle(self)
  for _, entry in ipairs(self.entries) do
    self.conditional = self.conditional or entry.test ~= nil
    self.body_size = entry.body_size and math.max(self.body_size or 0, entry.body_size) or self.body_size
  end
end

local function start_probes(self)
  for _, entry in ipairs(self.entries) do
    if entry.probe then
      entry.probe:start()
    end
  end
end

local function close(self)
  for _, entry in ipairs(self.entries) do
    if entry.probe then
      entry.probe:stop()
    end
  end
end

local function new_group(config, registry, scope, word, label)
  return {
    registry = registry,
    scope = scope,
    word = word,
    label = label,
    entries = {},
    conditional = false,
    selector = selector.new(config.selector, scope, {
      strategies = registry.strategies, filters = registry.filters, of_group = true,
    }),
  }
end

-- Chains -----------------------------------------------------------------------------------------

local chains = { start_probes = start_probes, close = close }
local chains_mt = { __name = "tidegate.chain.group", __index = chains }

local function visit_chain(target, ctx, config, deadline)
  ctx.chain = target
  return router.once(ctx, "tcp", config.addr, deadline, 0)
end

--- Choose a chain, and by it the route, for one connection.
-- @return route | nil, err
function chains:route(ctx, network, address)
  local list = eligible(self, self.conditional and { network = network, host = address, ctx = ctx } or nil)
  if #list == 0 then
    return route.DIRECT
  end
  local entry, err = list[1], nil
  if #list > 1 then
    entry, err = self.selector:select(list, ctx)
  end
  if entry then
    return entry.target:route(ctx, network, address)
  elseif err then
    return nil, err
  elseif self.fallback then
    return route.DIRECT
  end
  return nil, failure.new("unreachable", "all chains of the group have failed", { addr = address })
end

--- The chain that a handler or listener means.
-- @param config with `chain` (a name) and `chainGroup`
-- @param label for messages: "service NAME"
-- @return a chain or a group, which both have route(); nil for none | nil, err
function M.chains(config, registry, scope, label)
  local single, err = registry:chain_of(config.chain)
  if err then
    return nil, err
  end
  local group = config.chainGroup
  if not group or #(group.chains or {}) == 0 then
    return single
  end

  local self = setmetatable(new_group(group, registry, "chains/" .. scope, "chain", label), chains_mt)
  self.fallback = group.fallback == "direct"
  local list = {}
  if single then
    list[1] = { chain = config.chain }
  end
  for _, item in ipairs(group.chains) do
    list[#list + 1] = item
  end
  for _, item in ipairs(list) do
    local ok
    ok, err = add_entry(self, item, registry:chain_of(item.chain), item.chain, visit_chain)
    if not ok then
      return nil, err
    end
  end
  settle(self)
  return self
end

-- Hops -------------------------------------------------------------------------------------------

local hops = { start_probes = start_probes, close = close }
local hops_mt = { __name = "tidegate.hop.group", __index = hops }

local function visit_hop(target, ctx, _, deadline)
  local node = target:select(ctx, "tcp", "", {})
  if not node then
    return nil, failure.new("unreachable", "the hop has no node")
  end
  return node:visit(ctx, deadline)
end

--- Choose a hop, and in it the node.
-- @return node, or nil for none | nil, err
function hops:select(ctx, network, address, request)
  local list = eligible(self, request or {})
  local entry = list[1]
  if #list > 1 then
    local chosen, err = self.selector:select(list, ctx)
    if err then
      return nil, err
    end
    entry = chosen or entry
  end
  return entry and entry.target:select(ctx, network, address, request or {})
end

--- The hops of a forwarder.
-- @return group with select() | nil, err
function M.hops(config, registry, scope, label)
  local self = setmetatable(new_group(config, registry, "hops/" .. scope, "hop", label), hops_mt)
  for _, item in ipairs(config.hops or {}) do
    local ok, err = add_entry(self, item, registry.hops[item.hop], item.hop, visit_hop)
    if not ok then
      return nil, err
    end
    local target = self.entries[#self.entries].target
    self.body_size = target.body_size and math.max(self.body_size or 0, target.body_size) or self.body_size
  end
  settle(self)
  return self
end

return M
