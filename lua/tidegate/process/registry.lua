-- The named objects of one generation of the configuration, in one worker.

local chain = require "tidegate.chain.chain"
local context = require "tidegate.process.context"
local declare = require "tidegate.script.declare"
local failure = require "tidegate.failure"
local hop = require "tidegate.chain.hop"
local kinds = require "tidegate.policy.kinds"
local log = require "tidegate.process.log"
local node = require "tidegate.chain.node"
local policy = require "tidegate.policy.policy"
local route = require "tidegate.chain.route"
local stage = require "tidegate.stage"

local DIAL_TIMEOUT = 15 -- seconds
local MAX_URLS = 1000 -- hops kept that scripts made of URLs

local M = {}
local methods = {}
local mt = { __name = "tidegate.registry", __index = methods }

-- Remember what went wrong; nil is nothing.
local function complain(self, err)
  self.problems[#self.problems + 1] = err
end

local function build_loggers(self, config)
  for _, item in ipairs(config.loggers or {}) do
    if item.log then
      self.loggers[item.name] = log.new(item.log, item.name)
    end
  end
end

-- Remember an object whose items can change while it is in use.
local function keep_loadable(self, list, config, object)
  if object.load then
    self.loadable[policy.key(list, config)] = object
  end
end

local function build_kind(self, kind, items)
  local objects = self[kind.list]
  for _, item in ipairs(items or {}) do
    if not objects[item.name] then
      local made, err = policy.make(kind, item, {
        name = item.name,
        registry = self,
        data = self:data_of(kind.list, item),
        log = self.log:with { "kind", kind.kind, kind.kind, item.name },
      })
      if made then
        objects[item.name] = made
        self.own[#self.own + 1] = made
        keep_loadable(self, kind.list, item, made)
      else
        complain(self, err)
      end
    end
  end
end

local function build_policies(self, config)
  for _, kind in ipairs(kinds.all) do
    build_kind(self, kind, config[kind.list])
  end
  if self.scripts and #self.problems == 0 then
    complain(self, select(2, self.scripts:wrap(self)))
  end
end

-- What stands in for a hop or chain that could not be made, so that what uses it is not to blame.
local function broken(kind, name)
  return kind.scripted(name, function()
    return nil, failure.new("config", ("%s could not be made"):format(name))
  end)
end

local function build_hops(self, config)
  for _, item in ipairs(config.hops or {}) do
    if not self.hops[item.name] then
      local made, err = hop.new(item, {
        strategies = self.strategies,
        registry = self,
        data = self:data_of("hops", item),
      })
      if made then
        self.own[#self.own + 1] = made
        keep_loadable(self, "hops", item, made)
      else
        complain(self, err:during("hop " .. item.name))
      end
      self.hops[item.name] = made or broken(hop, item.name)
    end
  end
  if self.scripts then
    complain(self, select(2, self.scripts:wrap_choices(self, "hop")))
  end
end

local function build_chains(self, config)
  for _, item in ipairs(config.chains or {}) do
    if not self.chains[item.name] then
      local made, err = chain.new(item, { hops = self.hops, strategies = self.strategies, registry = self })
      self.chains[item.name] = made or broken(chain, item.name)
      self.own[#self.own + 1] = made
      complain(self, err)
      for _, own in ipairs(made and made.own or {}) do
        keep_loadable(self, "chains/" .. item.name, made.configs[own], own)
      end
    end
  end
  if self.scripts then
    complain(self, select(2, self.scripts:wrap_choices(self, "chain")))
  end
end

local STEPS = { build_loggers, build_policies, build_hops, build_chains }

-- Those in use in this worker: the current one, and older ones whose services or connections go on.
local alive = setmetatable({}, { __mode = "k" })

--- Build what a configuration names.
-- @param scripts what its scripts registered (tidegate.script), or nil
-- @param data what the control thread has loaded and prepared, by key (tidegate.process.loaders)
-- @return registry, a list of what could not be made; with anything in it the registry is only good for finding
--   what else is wrong, and for close()
function M.new(config, scripts, data)
  local self = setmetatable({
    config = config,
    log = log.new(config.log),
    data = data or {},
    loadable = {}, -- key → object
    loggers = {},
    hops = {},
    chains = {},
    strategies = {},
    filters = {},
    matchers = {},
    stages = stage.set(),
    own = {},
    problems = {},
    by_url = {},
    url_policies = {},
    urls = 0,
    scripts = scripts,
  }, mt)
  for _, kind in ipairs(kinds.all) do
    self[kind.list] = {}
  end
  alive[self] = true
  if scripts then
    scripts:install(self)
  end
  for _, step in ipairs(STEPS) do
    step(self, config)
  end
  return self, self.problems
end

--- What was prepared for an object of a list, or nil.
function methods:data_of(list, config)
  return self.data[policy.key(list, config)]
end

--- New data for an object, in every registry that has it.
-- @param key of tidegate.policy.policy
function M.load(key, data)
  for self in pairs(alive) do
    local object = self.loadable[key]
    if object then
      object:load(data)
    end
    self.data[key] = data
  end
end

--- The chain a handler or listener names.  Where the API has deleted it, connections are refused: to go
-- without it would show who asks.
-- @return chain, or nil for none
function methods:chain_of(name)
  if not name or name == "" then
    return nil
  end
  return self.chains[name] or chain.scripted(name, function()
    return nil, failure.new("config", ("there is no chain %q"):format(name))
  end)
end

-- A script that never says a URL twice must not fill the memory.
local function forget_urls(self)
  for _, made in pairs(self.by_url) do
    made:close()
  end
  for _, item in ipairs(self.url_policies) do
    self[item.list][item.name] = nil
    if item.object.close then
      item.object:close()
    end
  end
  self.by_url, self.url_policies, self.urls = {}, {}, 0
end

-- The policies that a URL brings along, such as `bypass=…`; their names are theirs alone.
local function adopt(self, config)
  for list, items in pairs(config) do
    local kind = kinds.by_list(list)
    for _, item in ipairs(kind and items or {}) do
      if self[list][item.name] then -- of an earlier attempt
        break
      end
      local made, err = policy.make(kind, item, {
        name = item.name, registry = self, log = self.log:with { "kind", kind.kind, kind.kind, item.name },
      })
      if not made then
        return nil, err
      end
      self[list][item.name] = made
      table.insert(self.url_policies, { list = list, name = item.name, object = made })
    end
  end
  return true
end

-- The hop that a URL describes; made once.
local function hop_of_url(self, text)
  local made = self.by_url[text]
  if made then
    return made
  end
  if self.urls >= MAX_URLS then
    forget_urls(self)
  end
  local others = {}
  local config, err = declare.hop_of_url(text, text, others, "url")
  if not config then
    return nil, err
  end
  self.urls = self.urls + 1
  local ok
  ok, err = adopt(self, others)
  if not ok then
    return nil, err
  end
  made, err = hop.new(config, { scope = "url", strategies = self.strategies, registry = self })
  if not made then
    return nil, err
  end
  self.by_url[text] = made
  return made
end

--- The node that a script means: a node, a URL or the name of a hop.
-- @return node | nil, err
function methods:node(value, ctx, network, address)
  if value == nil or value == false then
    return nil
  elseif type(value) == "table" and (node.is(value) or value.racers) then
    return value
  elseif type(value) ~= "string" then
    return nil, failure.new("config", ("a node, a URL or the name of a hop is wanted, not a %s"):format(type(value)))
  end
  local from, err = self.hops[value], nil
  if not from then
    from, err = hop_of_url(self, value)
    if not from then
      return nil, err
    end
  end
  return from:select(ctx, network, address)
end

--- The route that a script means: a route, "direct" (or nothing), the name of a chain, a URL, or a list
-- of nodes, URLs and names of hops.
-- @return route | nil, err
function methods:route(value, ctx, network, address)
  if route.is(value) then
    return value
  elseif value == nil or value == false or value == "direct" then
    return route.DIRECT
  elseif type(value) == "string" and self.chains[value] then
    return self.chains[value]:route(ctx, network, address)
  elseif type(value) == "table" and value.route then
    return value:route(ctx, network, address)
  end

  local nodes = {}
  for _, item in ipairs(type(value) == "table" and value or { value }) do
    local one, err = self:node(item, ctx, network, address)
    if err then
      return nil, err
    elseif not one then -- the hop's bypass, or nobody left to choose: the route ends here, as a chain's does
      break
    end
    nodes[#nodes + 1] = one
  end
  return route.new(nodes)
end

--- The chain that a script means, by the same words as route().
function methods:as_chain(value)
  if type(value) == "table" and value.route then
    return value
  end
  local registry = self
  return {
    route = function(_, ctx, network, address)
      return registry:route(value, ctx, network, address)
    end,
  }
end

--- What stands for a service when no client asked.
function methods:own_service()
  if not self.service then
    self.service = {
      name = "script",
      registry = self,
      stages = self.stages,
      log = self.log,
      handler_log = self.log:with { "kind", "script" },
      retries = 0,
      dial_timeout = DIAL_TIMEOUT,
    }
  end
  return self.service
end

local function own_context(self, options)
  local ctx = context.new(self:own_service())
  ctx.remote, ctx.local_address, ctx.client, ctx.client_ip = "@", "@", "@", ""
  ctx.deadline = options and options.deadline
  return ctx
end

--- Connect for a script rather than a client; the stages are the same.
-- @param options nil or { chain = a name, a URL, or a list of such, deadline = ms }
-- @return stream, the caller's to close | nil, err
function methods:connect(network, address, options)
  return own_context(self, options):connect(network, address, options)
end

--- The same for a packet endpoint, to one destination or with the address "" to any.
function methods:packets(network, address, options)
  return own_context(self, options):packets(network, address, options)
end

--- Begin to probe the nodes that ask for it, when the generation comes into force.
function methods:start_probes()
  for _, object in ipairs(self.own) do
    if object.start_probes then
      object:start_probes()
    end
  end
end

--- One service or connection more uses it, until leave().
function methods:enter()
  self.users = (self.users or 0) + 1
end

--- One less uses it; the last closes it.
function methods:leave()
  self.users = self.users - 1
  if self.users <= 0 then
    self:close()
  end
end

--- Close hops and chains, and take back what scripts registered; connections that use them go on.
function methods:close()
  alive[self] = nil
  for i = #self.own, 1, -1 do
    if self.own[i].close then
      self.own[i]:close()
    end
  end
  forget_urls(self)
  if self.scripts then
    self.scripts:drop()
  end
end

return M
