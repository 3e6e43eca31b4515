-- A hop: several nodes of which each connection takes one.

local metadata = require "tidegate.metadata"
local node = require "tidegate.chain.node"
local selector = require "tidegate.chain.selector"

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

--- Make a hop.
-- @param config {name, selector, nodes, metadata}
-- @param options {scope = what makes its state unique in the process, strategies = selectors of
--   scripts, targets = true for a forwarder's nodes, which have an address only, registry = of what nodes
--   name}
-- @return hop | nil, err
function M.new(config, options)
  local name = config.name or ""
  local scope = ("%s/%s"):format(options.scope or "hop", name)
  local self = setmetatable({
    name = name,
    nodes = {},
    selector = selector.new(config.selector, scope, options.strategies),
  }, mt)

  local make = options.targets and node.target or node.new
  local made = {
    hop = name ~= "" and name or nil,
    scope = scope,
    hop_md = read_metadata(config),
    hop_config = config,
    registry = options.registry,
  }
  for i, item in ipairs(config.nodes or {}) do
    local built, err = make(item, made)
    if not built then
      self:close()
      return nil, err
    end
    self.nodes[i] = built
  end
  self.single = #self.nodes == 1
  return self
end

--- A hop whose nodes a script chooses.
-- @param pick function(ctx, network, address) → node, or nil for none
function M.scripted(name, pick)
  return setmetatable({ name = name, nodes = {}, pick = pick }, mt)
end

-- Which nodes may be taken, and the first that is only kept out by its failures.
local function candidates(self)
  local list, failed = {}, nil
  for i = 1, #self.nodes do
    local item = self.nodes[i]
    if item.mark:failed(self.selector) then
      failed = failed or item
    else
      list[#list + 1] = item
    end
  end
  return list, failed
end

--- Choose the node for one connection.
-- @return node, or nil when the hop has none for it
function methods:select(ctx, network, address)
  if self.pick then
    return self.pick(ctx, network, address)
  elseif self.single then
    return self.nodes[1]
  end

  local list, failed = candidates(self)
  if #list == 0 then
    return failed
  elseif #list == 1 then
    return list[1]
  end
  return self.selector:select(list, ctx)
end

--- Close the nodes.
function methods:close()
  for i = 1, #self.nodes do
    self.nodes[i]:close()
  end
end

return M
