-- What the scripts of one generation have registered; dropping the set takes all of it back.

local auth = require "tidegate.policy.auth"
local chain = require "tidegate.chain.chain"
local component = require "tidegate.component"
local hop = require "tidegate.chain.hop"
local stage = require "tidegate.stage"

local M = {}
local methods = {}
local mt = { __name = "tidegate.script.set", __index = methods }

--- An empty set.
function M.new()
  return setmetatable({
    config = { services = {}, chains = {}, hops = {}, authers = {} },
    hooks = {}, -- { name, fn } in order
    chains = {}, -- name → function(ctx, network, address)
    hops = {},
    authers = {},
    strategies = {},
    components = {},
    modules = {}, -- modules the scripts required
    registry = nil, -- set when installed
    dropped = false,
  }, mt)
end

local function scripted_chain(registry, name, compose)
  return chain.scripted(name, function(ctx, network, address)
    local value, err = compose(ctx, network, address)
    if value == nil and err then
      return nil, err
    end
    return registry:route(value, ctx, network, address)
  end)
end

local function scripted_hop(registry, name, pick)
  return hop.scripted(name, function(ctx, network, address)
    return registry:node(pick(ctx, network, address), ctx, network, address)
  end)
end

--- Give a registry what scripts made; before it builds the rest.
function methods:install(registry)
  self.registry = registry
  registry.strategies = self.strategies
  for name, compose in pairs(self.chains) do
    registry.chains[name] = scripted_chain(registry, name, compose)
  end
  for name, pick in pairs(self.hops) do
    registry.hops[name] = scripted_hop(registry, name, pick)
  end
  for name, check in pairs(self.authers) do
    registry.authers[name] = auth.scripted(check)
  end
  for _, hook in ipairs(self.hooks) do
    stage.on(registry.stages, hook.name, hook.fn)
  end
end

--- Add a hook; also while the set is in use.
function methods:on(name, fn)
  self.hooks[#self.hooks + 1] = { name = name, fn = fn }
  if self.registry then
    stage.on(self.registry.stages, name, fn)
  end
end

--- Declare a component.
function methods:component(kind, name, item)
  local made = component.register(kind, name, item)
  self.components[#self.components + 1] = made
  return made
end

--- Take everything back.  Tasks of the scripts end at their next sleep().
function methods:drop()
  self.dropped = true
  for i = #self.components, 1, -1 do
    component.remove(self.components[i])
  end
  self.components = {}
end

return M
