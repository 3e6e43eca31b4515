-- What the scripts of one generation have registered; dropping the set takes all of it back.

local chain = require "tidegate.chain.chain"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local guard = require "tidegate.script.guard"
local hop = require "tidegate.chain.hop"
local kinds = require "tidegate.policy.kinds"
local policy = require "tidegate.policy.policy"
local stage = require "tidegate.stage"

local M = {}
local methods = {}
local mt = { __name = "tidegate.script.set", __index = methods }

--- An empty set.
function M.new()
  return setmetatable({
    config = { services = {}, chains = {}, hops = {} },
    hooks = {}, -- { name, fn } in order
    chains = {}, -- name → function(ctx, network, address)
    hops = {},
    policies = {}, -- list → name → { spec, options }
    wraps = {}, -- list → name → { { fn, options }, … }
    strategies = {},
    filters = {}, -- name → function(items, ctx)
    matchers = {}, -- name → function(request)
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
  return hop.scripted(name, function(ctx, network, address, request)
    local value, err = pick(ctx, network, address, request)
    if value == nil and err then
      return nil, err
    end
    return registry:node(value, ctx, network, address)
  end)
end

-- A strategy's choice is one of the items, or nothing.
local function one_of_items(pick)
  return function(items, ctx)
    local item, err = pick(items, ctx)
    for i = 1, item and #items or 0 do
      if items[i] == item then
        return item
      end
    end
    if item then
      guard.wrong(pick, "one of the items", item)
    end
    return nil, err
  end
end

local LIST = guard.wants("table", "a list of items")

local function env_of(registry, name)
  return { name = name, registry = registry, log = registry.log }
end

local function add_hook(registry, hook)
  local what = ("hook on %s of %s"):format(hook.name, hook.stem)
  stage.on(registry.stages, hook.name, guard.new(hook.fn, what, hook.on_error or stage.closed(what), registry.log))
end

-- A chain or hop that raised has no route to offer: the connection fails rather than go another way.
local function no_route(what)
  return function()
    return nil, failure.new("blocked", what .. " raised an error")
  end
end

local function install_policies(self, registry)
  for _, kind in ipairs(kinds.all) do
    for name, item in pairs(self.policies[kind.list] or {}) do
      registry[kind.list][name] = policy.scripted(kind, name, item.spec, item.options, env_of(registry, name))
    end
  end
end

--- Give a registry what scripts made; before it builds the rest.
function methods:install(registry)
  self.registry = registry
  for name, pick in pairs(self.strategies) do
    -- what is left when a selector raises: the first item
    registry.strategies[name] = guard.new(one_of_items(pick), ("selector %q"):format(name), function(items)
      return items[1]
    end, registry.log)
  end
  for name, keep in pairs(self.filters) do -- one that raises leaves nothing: the connection fails
    registry.filters[name] = guard.new(guard.expect(keep, LIST), ("filter %q"):format(name), nil, registry.log)
  end
  for name, test in pairs(self.matchers) do
    registry.matchers[name] = guard.new(test, ("matcher %q"):format(name), false, registry.log)
  end
  for name, compose in pairs(self.chains) do
    local what = ("chain %q"):format(name)
    registry.chains[name] = scripted_chain(registry, name, guard.new(compose, what, no_route(what), registry.log))
  end
  for name, pick in pairs(self.hops) do
    local what = ("hop %q"):format(name)
    registry.hops[name] = scripted_hop(registry, name, guard.new(pick, what, no_route(what), registry.log))
  end
  install_policies(self, registry)
  for _, hook in ipairs(self.hooks) do
    add_hook(registry, hook)
  end
end

-- A hop or chain with a function of a script around its choice.  Nothing about it is fixed any more.
local function wrapped_choice(kind, inner, name, item, registry)
  local main = kind.main
  local what = ("%s %q (wrapped)"):format(kind.kind, name)
  local safe = guard.new(item.fn, what, no_route(what), registry.log)
  local function next_one(...)
    return inner[main](inner, ...)
  end
  return setmetatable({
    fixed = false,
    single = false,
    [main] = function(_, ctx, network, address, request)
      local value, err = safe(next_one, ctx, network, address, request)
      if value == nil and err then
        return nil, err
      end
      return registry[kind.kind == "hop" and "node" or "route"](registry, value, ctx, network, address)
    end,
  }, { __index = inner })
end

local CHOICES = {
  hop = { kind = "hop", list = "hops", main = "select" },
  chain = { kind = "chain", list = "chains", main = "route" },
}

--- Kinds that can be wrapped though they are no policies, by word.
methods.WRAPPED = CHOICES

local function wrap_list(self, registry, kind, around)
  for name, list in pairs(self.wraps[kind.list] or {}) do
    local objects = registry[kind.list]
    if not objects[name] then
      return nil, failure.new("config", ("tg.wrap: there is no %s %q"):format(kind.kind, name))
    end
    for _, item in ipairs(list) do
      objects[name] = around(kind, objects[name], name, item, registry)
    end
  end
  return true
end

local function around_policy(kind, object, name, item, registry)
  return policy.wrapped(kind, object, name, item.fn, item.options, env_of(registry, name))
end

--- Put what scripts wrap around the policies of a registry; after it has built them.
-- @return true | nil, err
function methods:wrap(registry)
  for _, kind in ipairs(kinds.all) do
    local ok, err = wrap_list(self, registry, kind, around_policy)
    if not ok then
      return nil, err
    end
  end
  return true
end

--- The same for its hops or its chains.
-- @param word "hop" or "chain"
function methods:wrap_choices(registry, word)
  return wrap_list(self, registry, CHOICES[word], wrapped_choice)
end

--- Add a hook; also while the set is in use.
-- @param on_error nil: what raised ends the connection; "open": it goes on as if there were no hook
function methods:on(name, fn, on_error)
  local hook = {
    name = name,
    fn = fn,
    stem = self.stem or "a script",
    on_error = on_error == "open" and stage.open or nil,
  }
  self.hooks[#self.hooks + 1] = hook
  if self.registry then
    add_hook(self.registry, hook)
  end
end

--- Define an object of a kind of policy.
function methods:policy(kind, name, spec, options)
  self.policies[kind.list] = self.policies[kind.list] or {}
  self.policies[kind.list][name] = { spec = spec, options = options }
end

--- Wrap an object of a kind of policy.
function methods:wrap_policy(kind, name, fn, options)
  self.wraps[kind.list] = self.wraps[kind.list] or {}
  local list = self.wraps[kind.list][name] or {}
  self.wraps[kind.list][name] = list
  list[#list + 1] = { fn = fn, options = options }
end

--- Declare a component.
function methods:component(kind, name, item)
  local made = component.register(kind, name, item)
  self.components[#self.components + 1] = made
  for key, fn in pairs(item) do
    if type(fn) == "function" then
      guard.know(fn, ("%s %q, %s"):format(kind, name, key))
    end
  end
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
