-- A chain: hops in order.  Each connection takes one node of each.

local failure = require "tidegate.failure"
local hop = require "tidegate.chain.hop"
local mark = require "tidegate.chain.mark"
local metadata = require "tidegate.metadata"
local route = require "tidegate.chain.route"

local M = {}
local methods = {}
local mt = { __name = "tidegate.chain", __index = methods }

--- Keys of chain metadata: what counts when the chain is one of a group.
M.METADATA = {
  weight = { type = "int", doc = "share in the strategy rand" },
  backup = { type = "bool", doc = "use only when all others have failed" },
  maxFails = { type = "int", keep_zero = true, doc = "failures before the chain is left alone" },
  failTimeout = { type = "duration", keep_zero = true, doc = "how long it is left alone" },
}

--- Whether a hop of a chain is described there; others are names of hops defined elsewhere.
function M.is_inline(config)
  return (config.nodes or config.plugin or config.file or config.redis or config.http) ~= nil
end

local function make_hop(self, config, options)
  if not M.is_inline(config) then
    local found = options.hops[config.name]
    if not found then
      return nil, failure.new("config", ("chain %s: no hop %q"):format(self.name, tostring(config.name)))
    end
    return found
  end

  local registry = options.registry
  local made, err = hop.new(config, {
    scope = "chain/" .. self.name,
    strategies = options.strategies,
    registry = registry,
    data = registry and registry:data_of("chains/" .. self.name, config),
  })
  if not made then
    return nil, err:during("chain " .. self.name)
  end
  self.own[#self.own + 1] = made
  self.configs[made] = config
  return made
end

local function new_route(self, nodes)
  local made = route.new(nodes)
  made.mark, made.chain = self.mark, self.name
  return made
end

-- Where each hop has exactly one node for everybody there is nothing to choose.
local function fixed_route(self)
  local nodes = {}
  for i = 1, #self.hops do
    local node = self.hops[i].fixed
    if not node then
      return nil
    end
    nodes[i] = node
  end
  return new_route(self, nodes)
end

--- Make a chain.
-- @param options {hops = name → hop, strategies = selectors of scripts, registry = of what nodes name}
-- @return chain | nil, err
function M.new(config, options)
  local md = metadata.parse(M.METADATA, config.metadata)
  local self = setmetatable({
    name = config.name,
    md = md,
    hops = {},
    own = {},
    configs = {}, -- hop → its configuration
    mark = mark.new("chain/" .. (config.name or ""), md.maxFails, md.failTimeout),
  }, mt)
  for i, item in ipairs(config.hops or {}) do
    local made, err = make_hop(self, item, options)
    if not made then
      self:close()
      return nil, err
    end
    self.hops[i] = made
  end
  self.fixed = fixed_route(self)
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
    local node, err = self.hops[i]:select(ctx, network, address)
    if err then
      return nil, err
    elseif not node then
      break
    end
    nodes[i] = node
  end
  return new_route(self, nodes)
end

--- Begin to probe the nodes of the hops that belong to this chain.
function methods:start_probes()
  for i = 1, #self.own do
    self.own[i]:start_probes()
  end
end

--- Close the hops that belong to this chain alone.
function methods:close()
  for i = 1, #self.own do
    self.own[i]:close()
  end
end

return M
