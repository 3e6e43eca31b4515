-- The targets of a service: of a group of hops, of a hop, or its own.

local failure = require "tidegate.failure"
local group = require "tidegate.chain.group"
local hop = require "tidegate.chain.hop"
local load = require "tidegate.chain.load"

local M = {}
local methods = {}
local mt = { __name = "tidegate.forwarder", __index = methods }

local function is_set(text)
  return text ~= nil and text ~= ""
end

-- hopGroup, else hop (or the old name), else nodes.
-- @return source, whether it is ours alone, nil, the name of the hop | nil, nil, err
local function source_of(config, registry, service)
  if config.hopGroup and #(config.hopGroup.hops or {}) > 0 then
    local made, err = group.hops(config.hopGroup, registry, service, "service " .. service)
    return made, made ~= nil, err
  end
  local name = is_set(config.hop) and config.hop or config.name
  if is_set(name) then
    local found = registry.hops[name]
    return found, false, not found and failure.new("config", ("no hop %q"):format(name)) or nil, name
  end
  local made, err = hop.new({ nodes = config.nodes, selector = config.selector }, {
    scope = "service/" .. service,
    strategies = registry.strategies,
    targets = true,
    registry = registry,
  })
  return made, made ~= nil, err
end

--- Make the forwarder of a service.
-- @return forwarder | nil, err
function M.new(config, registry, service)
  local source, own, err, name = source_of(config, registry, service)
  if not source then
    return nil, err
  end
  return setmetatable({
    source = source,
    own = own,
    name = name,
    single = source.single or false,
    body_size = source.body_size,
  }, mt)
end

local NOTHING = {} -- known of a raw connection

--- Choose a target.
-- @param request what is known of the request (tidegate.chain.rule); nil: nothing
-- @return node, or nil for none | nil, err
function methods:select(ctx, network, address, request)
  local node, err = self.source:select(ctx, network, address or "", request or NOTHING)
  if node and node.racers then -- only chains can dial several at once
    node = node.racers[1]
  end
  if node then
    load.claim(ctx, node)
  end
  return node, err
end

--- @return how many targets there are now; of a script's or a plugin's choice one
function methods:count()
  local source, count = self.source, 0
  for _, entry in ipairs(source.entries or { { target = source } }) do
    local nodes = entry.target.nodes
    count = count + (nodes and not entry.target.pick and #nodes or 1)
  end
  return count
end

--- @return how much of a request's body rules want to see, or nil for nothing
function methods:body_limit()
  return self.source.body_size
end

--- Begin to probe the targets that ask for it.
function methods:start_probes()
  if self.own then
    self.source:start_probes()
  end
end

--- Close what is the service's alone.
function methods:close()
  if self.own then
    self.source:close()
  end
end

return M
