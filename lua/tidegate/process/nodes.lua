-- The nodes of a worker's hops and forwarders, and what is known of each: marks, probes, latency, load.
-- All of that is shared, so one worker can answer for all.

local sorted = require "tidegate.sorted"

local M = {}

local function item_of(node, hop, place)
  local health
  if node.health then
    health = node.health:latency()
  end
  local config = node.config or {}
  return {
    chain = place.chain,
    service = place.service,
    hop = hop.name ~= "" and hop.name or nil,
    name = node.name,
    addr = node.addr,
    connector = config.connector and config.connector.type or not place.service and "http" or nil,
    dialer = config.dialer and config.dialer.type or not place.service and "tcp" or nil,
    failed = node.mark:failed(hop.selector),
    fails = node.mark.mark:count(),
    probed = node.probe ~= nil or nil,
    healthy = health ~= nil and health ~= false or health == false and false or nil,
    probeLatency = health or nil,
    latency = node.latency and node.latency:get() or nil,
    connections = node.load and node.load:get() or nil,
    weight = node.weight,
    backup = node.backup or nil,
  }
end

local function add_hop(list, hop, place)
  for _, node in ipairs(hop.nodes or {}) do
    if node.mark and node.mark.mark then
      list[#list + 1] = item_of(node, hop, place)
    end
  end
end

--- List them: of hops, chains (hops of their own), and forwarders of services.
function M.list(registry, services)
  local list = {}
  if not registry then
    return list
  end
  for _, name in ipairs(sorted(registry.hops)) do
    add_hop(list, registry.hops[name], {})
  end
  for _, name in ipairs(sorted(registry.chains)) do
    for _, hop in ipairs(registry.chains[name].own or {}) do
      add_hop(list, hop, { chain = name })
    end
  end
  for _, name in ipairs(sorted(services)) do
    local forwarder = services[name].forwarder
    if forwarder and forwarder.own then
      add_hop(list, forwarder.source, { service = name })
    end
  end
  return list
end

return M
