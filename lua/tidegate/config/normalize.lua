-- The last step before a configuration is applied: defaults that do not depend on any component, so
-- that nobody behind has to ask for them.

local normalize = {}

local function part(value, default)
  value = value or {}
  if not value.type or value.type == "" then
    value.type = default
  end
  return value
end

local function host_of(addr)
  local host = addr:match("^%[(.-)%]") or addr:match("^(.*):[^:]*$") or addr
  return host ~= "" and host or nil
end

-- One server name was made for a list of hosts: each node has its own.
local function fix_server_name(tls, addr)
  if tls and tls.serverName and tls.serverName:find(",", 1, true) then
    tls.serverName = host_of(addr or "")
  end
end

local function fix_hop(hop)
  for _, node in ipairs(hop.nodes or {}) do
    node.connector = part(node.connector, "http")
    node.dialer = part(node.dialer, "tcp")
    fix_server_name(node.dialer.tls, node.addr)
    fix_server_name(node.connector.tls, node.addr)
    node.resolver = node.resolver or hop.resolver
    node.hosts = node.hosts or hop.hosts
  end
end

--- Fill in defaults, in place.  @return the configuration
function normalize.apply(config)
  for _, service in ipairs(config.services or {}) do
    service.handler = part(service.handler, "auto")
    service.listener = part(service.listener, "tcp")
  end
  for _, hop in ipairs(config.hops or {}) do
    fix_hop(hop)
  end
  for _, chain in ipairs(config.chains or {}) do
    for _, hop in ipairs(chain.hops or {}) do
      fix_hop(hop)
    end
  end
  return config
end

return normalize
