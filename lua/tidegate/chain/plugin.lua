-- Hops whose nodes a plugin chooses: it answers with the JSON object of a node.

local failure = require "tidegate.failure"
local lazy = require "tidegate.lazy"
local json = lazy "tidegate.config.json"
local node = require "tidegate.chain.node"
local reader = lazy "tidegate.config.reader"

local M = {}

local MAX_NODES = 1000 -- kept of those that replies described

local methods = {}
local mt = { __name = "tidegate.hop.plugin", __index = methods }

local function read(text)
  local tree, err = json.parse(text)
  if not tree or tree.kind ~= "map" then
    return nil, failure.new("protocol", "the plugin's answer is no node: " .. tostring(err or text))
  end
  local config, problems = reader.read(tree, { object = "node", mode = "file" })
  for _, problem in ipairs(problems) do
    if problem.severity ~= "warning" then
      return nil, failure.new("protocol", ("the plugin's answer: %s %s"):format(problem.path, problem.message))
    end
  end
  return config
end

local function forget_all(self)
  for _, made in pairs(self.nodes_by_text) do
    made:close()
  end
  self.nodes_by_text, self.count = {}, 0
end

-- Equal answers give the same node, with its sessions.
local function node_of(self, text)
  local made = self.nodes_by_text[text]
  if made then
    return made
  end
  local config, err = read(text)
  if not config then
    return nil, err
  end
  made, err = node.new(config, self.options)
  if not made then
    return nil, err
  end
  if self.count >= MAX_NODES then
    forget_all(self)
  end
  self.nodes_by_text[text], self.count = made, self.count + 1
  return made
end

--- Make a hop that asks a plugin.
-- @return hop | nil, err
function M.hop(config, options)
  local name = config.name or ""
  local self = setmetatable({
    name = name,
    nodes = {},
    nodes_by_text = {},
    count = 0,
    log = options.registry and options.registry.log,
    options = {
      hop = name ~= "" and name or nil,
      scope = ("%s/%s"):format(options.scope or "hop", name),
      registry = options.registry,
    },
  }, mt)
  local err
  self.client, err = require("tidegate.policy.plugin").object("hop", config, {
    name = name, registry = options.registry, log = self.log,
  })
  if not self.client then
    return nil, err
  end
  return self
end

--- Ask for the node of one connection.  @return node, or nil for none
function methods:select(ctx, network, address, request)
  request = request or { network = network, host = ctx and rawget(ctx, "target") or address }
  local text, err = self.client:select(ctx, network, address, request)
  local made = nil
  if type(text) == "string" and text ~= "" then
    made, err = node_of(self, text)
  end
  if err and self.log then
    self.log:warn(("hop %s: %s"):format(self.name, tostring(err)), { "kind", "hop", "hop", self.name })
  end
  return made
end

--- There is nothing to probe.
function methods:start_probes() end -- luacheck: ignore self

--- Close the nodes and the connection to the plugin.
function methods:close()
  forget_all(self)
  if self.client.close then
    self.client:close()
  end
end

return M
