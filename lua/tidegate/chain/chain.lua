-- A chain: hops in order.  Each connection takes one node of each.

local hop = require "tidegate.chain.hop"
local route = require "tidegate.chain.route"
local failure = require "tidegate.failure"

local M = {}
local methods = {}
local mt = { __name = "tidegate.chain", __index = methods }

-- Inline hops bring nodes; others are names of hops defined elsewhere.
local function is_inline(config)
  return config.nodes ~= nil
end

local function make_hop(self, config, options)
  if not is_inline(config) then
    local found = options.hops[config.name]
    if not found then
      return nil, failure.new("config", ("chain %s: no hop %q"):format(self.name, tostring(config.name)))
    end
    return found
  end

  local made, err = hop.new(config, {
    scope = "chain/" .. self.name, strategies = options.strategies, registry = options.registry,
  })
  if not made then
    return nil, err:during("chain " .. self.name)
  end
  self.own[#self.own + 1] = made
  return made
end

-- Where each hop has exactly one node there is nothing to choose.
local function fixed_route(hops)
  local nodes = {}
  for i = 1, #hops do
    if not hops[i].single then
      return nil
    end
    nodes[i] = hops[i].nodes[1]
  end
  return route.new(nodes)
end

--- Make a chain.
-- @param options {hops = name → hop, strategies = selectors of scripts, registry = of what nodes name}
-- @return chain | nil, err
function M.new(config, options)
  local self = setmetatable({ name = config.name, hops = {}, own = {} }, mt)
  for i, item in ipairs(config.hops or {}) do
    local made, err = make_hop(self, item, options)
    if not made then
      self:close()
      return nil, err
    end
    self.hops[i] = made
  end
  self.fixed = fixed_route(self.hops)
  return self
end

--- A chain whose route a script composes.
-- @param compose function(ctx, network, address) → route | nil, err
function M.scripted(name, compose)
  return setmetatable({ name = name, hops = {}, own = {}, compose = compose }, mt)
end

--- Choose the nodes for one connection.  A hop without a node for it ends the route there.
-- @return route | nil, err
function methods:route(ctx, network, address)
  if self.fixed then
    return self.fixed
  elseif self.compose then
    return self.compose(ctx, network, address)
  end

  local nodes = {}
  for i = 1, #self.hops do
    local node = self.hops[i]:select(ctx, network, address)
    if not node then
      break
    end
    nodes[i] = node
  end
  return route.new(nodes)
end

--- Close the hops that belong to this chain alone.
function methods:close()
  for i = 1, #self.own do
    self.own[i]:close()
  end
end

return M
