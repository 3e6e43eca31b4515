-- A hop: several nodes of which each connection takes one.

local loaded_nodes = require "tidegate.chain.nodes"
local metadata = require "tidegate.metadata"
local node = require "tidegate.chain.node"
local policies = require "tidegate.chain.policies"
local selector = require "tidegate.chain.selector"
local signature = require "tidegate.process.signature"

local M = {}
local methods = {}
local mt = { __name = "tidegate.hop", __index = methods }

M.METADATA = {
  interface = node.METADATA.interface,
  so_mark = node.METADATA.so_mark,
  netns = node.METADATA.netns,
  proxyProtocol = node.METADATA.proxyProtocol,
}

local function read_metadata(config)
  local md = metadata.parse(M.METADATA, config.metadata)
  md.interface = md.interface or config.interface
  md.so_mark = md.so_mark or config.sockopts and config.sockopts.mark
  return md
end

-- Making -----------------------------------------------------------------------------------------

-- What follows from the nodes it has now.
local function take_nodes(self, nodes)
  local conditional, body_size = self.bypass ~= nil, nil
  for i = 1, #nodes do
    local item = nodes[i]
    conditional = conditional or item.conditional or item.priority ~= 0
    body_size = item.body_size and math.max(body_size or 0, item.body_size) or body_size
  end
  self.nodes, self.conditional, self.body_size = nodes, conditional, body_size
  self.single = #nodes == 1 and not self.loads
  -- where a route is the same for everybody
  self.fixed = self.single and not conditional and nodes[1] or nil
end

local function make_inline(self, config)
  local nodes = {}
  for i, item in ipairs(config.nodes or {}) do
    local built, err = self.make(item, self.options)
    if not built then
      for j = 1, i - 1 do
        nodes[j]:close()
      end
      return nil, err
    end
    nodes[i] = built
  end
  return nodes
end

--- Make a hop.
-- @param config {name, selector, bypass, nodes, metadata, …}
-- @param options {scope = what makes its state unique in the process, strategies = selectors of
--   scripts, targets = true for a forwarder's nodes, which have an address only, registry, data = what
--   its sources hold}
-- @return hop | nil, err
function M.new(config, options)
  if config.plugin then
    return require("tidegate.chain.plugin").hop(config, options)
  end
  local name = config.name or ""
  local scope = ("%s/%s"):format(options.scope or "hop", name)
  local self = setmetatable({
    name = name,
    nodes = {},
    make = options.targets and node.target or node.new,
    selector = selector.new(config.selector, scope, {
      strategies = options.strategies, filters = options.registry and options.registry.filters,
    }),
    loads = config.file ~= nil or config.redis ~= nil or config.http ~= nil,
    registry = options.registry,
    loaded = {},
  }, mt)
  self.options = {
    hop = name ~= "" and name or nil,
    scope = scope,
    hop_md = read_metadata(config),
    hop_config = config,
    needs = self.selector.needs,
    registry = options.registry,
  }
  local err
  self.bypass, err = policies.bypass(config, options.registry)
  if err then
    return nil, err:during("hop " .. name)
  end
  self.inline, err = make_inline(self, config)
  if not self.inline then
    return nil, err
  end
  take_nodes(self, self.inline)
  if options.data then
    self:load(options.data)
  end
  return self
end

--- A hop whose nodes a script chooses.
-- @param pick function(ctx, network, address, request) → node, or nil for none | nil, err
function M.scripted(name, pick)
  return setmetatable({ name = name, nodes = {}, pick = pick }, mt)
end

-- Loaded nodes inherit nothing from the hop.
local function make_loaded(self, config)
  local options = {}
  for key, value in pairs(self.options) do
    options[key] = value
  end
  options.hop_md, options.hop_config = nil, nil
  local made, err = self.make(config, options)
  if not made then
    loaded_nodes.complain(self.registry, self.name, err)
  end
  return made
end

--- Take the nodes that its sources have now.  One that is as it was stays, with whatever it holds; one
-- that cannot be built is left out, with a warning.
-- @param data list of node objects (tidegate.chain.nodes)
function methods:load(data)
  local nodes, kept = { unpack(self.inline) }, {}
  for _, config in ipairs(data) do
    local id = signature.of(config)
    local item = kept[id] or self.loaded[id] or make_loaded(self, config)
    if item and not kept[id] then
      kept[id] = item
      nodes[#nodes + 1] = item
      if self.probing and item.probe then
        item.probe:start()
      end
    end
  end
  local before = self.loaded
  self.loaded = kept
  take_nodes(self, nodes)
  for id, item in pairs(before) do
    if not kept[id] then
      item:close()
    end
  end
end

--- Begin to probe the nodes that ask for it.
function methods:start_probes()
  self.probing = true
  for i = 1, #self.nodes do
    if self.nodes[i].probe then
      self.nodes[i].probe:start()
    end
  end
end

-- Choosing ---------------------------------------------------------------------------------------

local function passes(item, ctx, network, address, request)
  if item.bypass and item.bypass:contains(ctx, network, address, { host = request.host }) then
    return false
  end
  return not item.test or item.test(request)
end

-- Nodes that have not failed and take the request; without any, the first that only its failures keep out.
local function candidates(self, ctx, network, address, request)
  local list, failed = {}, {}
  for i = 1, #self.nodes do
    local item = self.nodes[i]
    if item.mark:failed(self.selector) then
      failed[#failed + 1] = item
    elseif passes(item, ctx, network, address, request) then
      list[#list + 1] = item
    end
  end
  for i = 1, #list == 0 and #failed or 0 do
    if passes(failed[i], ctx, network, address, request) then
      return list, failed[i]
    end
  end
  return list
end

local function by_priority(a, b)
  if a.priority ~= b.priority then
    return a.priority > b.priority
  end
  return a.at < b.at
end

-- Lists of nodes of one priority, the highest first.
local function groups_of(list)
  local order = {}
  for i, item in ipairs(list) do
    order[i] = { priority = item.priority, at = i, item = item }
  end
  table.sort(order, by_priority)
  local groups = {}
  for i, entry in ipairs(order) do
    if i == 1 or entry.priority ~= order[i - 1].priority then
      groups[#groups + 1] = {}
    end
    table.insert(groups[#groups], entry.item)
  end
  return groups
end

local function has_primary(list)
  for i = 1, #list do
    if not list[i].backup then
      return true
    end
  end
  return false
end

local function select_mixed(self, list, ctx)
  local wants_primary = has_primary(list)
  for _, group in ipairs(groups_of(list)) do
    if not wants_primary or has_primary(group) then
      local item, err = self.selector:select(group, ctx)
      if item or err then
        return item, err
      end
    end
  end
end

-- Of several: priorities first, then the selector.
local function choose(self, list, ctx)
  local highest, holders, best = -1, 0, nil
  for i = 1, #list do
    local priority = list[i].priority
    if priority > highest then
      highest, holders, best = priority, 1, list[i]
    elseif priority == highest then
      holders = holders + 1
    end
  end
  if highest > 0 and holders == 1 and not best.backup then
    return best
  elseif holders == #list then
    return self.selector:select(list, ctx)
  end
  return select_mixed(self, list, ctx)
end

-- Where every node takes every request, only failures matter.
local function select_any(self, ctx)
  local nodes = self.nodes
  local list, failed = nodes, nil
  for i = 1, #nodes do
    local has_failed = nodes[i].mark:failed(self.selector)
    if has_failed and not failed then
      failed, list = nodes[i], { unpack(nodes, 1, i - 1) }
    elseif not has_failed and failed then
      list[#list + 1] = nodes[i]
    end
  end
  if #list == 0 then
    return failed
  elseif #list == 1 then
    return list[1]
  end
  return self.selector:select(list, ctx)
end

--- Choose the node for one connection.
-- @param address where the connection goes, as it is dialed; "" in forwarders, where it is not known yet
-- @param request what rules look at (tidegate.chain.rule); nil: network and host of the connection, as
--   they were asked for
-- @return node, or nil when the hop has none for it: the route ends there | nil, err
function methods:select(ctx, network, address, request)
  if self.pick then
    return self.pick(ctx, network, address, request)
  elseif self.fixed then
    return self.fixed
  elseif not self.conditional then
    return select_any(self, ctx)
  end

  request = request or { network = network, host = ctx and rawget(ctx, "target") or address, ctx = ctx }
  if self.bypass and self.bypass:contains(ctx, network, address, { host = request.host }) then
    return nil
  end
  local list, failed = candidates(self, ctx, network, address, request)
  if #list == 0 then
    return failed
  elseif #list == 1 then
    return list[1]
  end
  return choose(self, list, ctx)
end

--- Close the nodes.
function methods:close()
  for i = 1, #self.nodes do
    self.nodes[i]:close()
  end
end

return M
