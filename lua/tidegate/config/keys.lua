-- Metadata that belongs to no single component: schemas for `component.parse_metadata`.

local limiter = require "tidegate.policy.limiter"
local observer = require "tidegate.policy.observer"

local keys = {}

keys.service = {
  proxyProtocol = { type = "int", doc = "over 0: accept PROXY protocol headers, v1 and v2" },
  interface = { type = "string", doc = "outbound devices or addresses, tried in order" },
  so_mark = { type = "int", doc = "SO_MARK of outbound sockets" },
  preUp = { type = "list", doc = "commands run before it serves" },
  postUp = { type = "list", doc = "commands run when it serves" },
  preDown = { type = "list", doc = "commands run before it closes" },
  postDown = { type = "list", doc = "commands run when it has closed" },
  ignoreChain = { type = "bool", default = false, doc = "never use a chain" },
  netns = { type = "string", doc = "network namespace of the listening socket" },
  ["netns.out"] = { type = "string", doc = "network namespace of outbound sockets" },
  dialTimeout = { type = "duration", default = 15, doc = "whole routing attempt; negative: none" },
  labels = { type = "map", doc = "added to logs and records" },
}
for key, spec in pairs(observer.METADATA) do
  keys.service[key] = spec
end

--- Every handler's metadata, beside what the handler itself declares.
keys.handler = {
  skipauth = { type = "list", split = ",", doc = "addresses and networks that need not log in" },
}
for key, spec in pairs(observer.HANDLER_METADATA) do
  keys.handler[key] = spec
end
for key, spec in pairs(limiter.METADATA) do
  keys.service[key], keys.handler[key] = spec, spec
end

keys.hop = {
  interface = { type = "string", doc = "default of its nodes" },
  so_mark = { type = "int", doc = "default of its nodes" },
  proxyProtocol = { type = "int", doc = "default of its nodes" },
  netns = { type = "string", doc = "default of its nodes" },
}

keys.node = {
  interface = { type = "string", doc = "outbound devices or addresses, tried in order" },
  so_mark = { type = "int", doc = "SO_MARK of sockets to this node" },
  proxyProtocol = { type = "int", doc = "version of the PROXY header sent to it" },
  netns = { type = "string", doc = "network namespace of sockets to this node" },
  weight = { type = "int", doc = "share under random" },
  backup = { type = "bool", default = false, doc = "only when no other node is left" },
  maxFails = { type = "int", doc = "instead of the selector's" },
  failTimeout = { type = "duration", doc = "instead of the selector's" },
}

--- Targets of a forwarder.
keys.forward_node = {
  ["http.version"] = {
    type = "string",
    default = "auto",
    doc = "of HTTP towards it: 1.1, 2, or auto: 2 for clients that speak it, if it does",
  },
}
for key, spec in pairs(keys.node) do
  keys.forward_node[key] = spec
end

return keys
