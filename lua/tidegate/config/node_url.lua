-- One -F: a URL to a hop.

local failure = require "tidegate.failure"
local params = require "tidegate.config.params"
local uri = require "tidegate.config.uri"

local M = {}

local PATH_SCHEMES = { unix = true, runix = true, serial = true }
local SSH = { ssh = true, sshd = true }

--- Parse what -F, -api and -metrics take.  @return see uri.parse
function M.normalize(text)
  text = text:match("^%s*(.-)%s*$")
  if text == "" then
    return nil, failure.new("config", "invalid cmd")
  end
  local parsed, err = uri.parse(params.with_scheme(text))
  return parsed and params.fix_https(parsed), err
end

local function read_client_tls(query, host)
  local tls = {
    certFile = query:text(unpack(params.CERT)),
    keyFile = query:text(unpack(params.KEY)),
    caFile = query:text(unpack(params.CA)),
    secure = query:bool("tls.secure", "secure") or nil,
    serverName = query:text("tls.servername", "servername"),
  }
  query:remove(unpack(params.CERT))
  query:remove(unpack(params.KEY))
  query:remove(unpack(params.CA))
  query:remove("tls.secure", "secure", "tls.servername", "serverName")
  if tls.serverName == "" then
    tls.serverName = uri.hostname(host)
  end
  for key, value in pairs(tls) do
    tls[key] = value ~= "" and value or nil
  end
  if not (tls.serverName or tls.certFile or tls.caFile or tls.secure) then
    return nil -- a key alone says nothing
  end
  return tls
end

-- Named objects and settings of the hop; what they take is not seen by nodes.
local function lift_hop(builder, hop, query, metadata)
  hop.selector = params.read_selector(query)
  local taken = { unpack(params.SELECTOR) }
  local rules = query:text("bypass")
  if rules ~= "" then
    hop.bypass = builder:generated("bypasses", "bypass", params.read_rules(rules))
    taken[#taken + 1] = "bypass"
  end
  local servers = query:text("resolver")
  if servers ~= "" then
    hop.resolver = builder:generated("resolvers", "resolver",
      { nameservers = params.read_nameservers(servers, "") })
    taken[#taken + 1] = "resolver"
  end
  local mappings = query:text("hosts")
  if mappings ~= "" then
    hop.hosts = builder:generated("hosts", "hosts", { mappings = params.read_mappings(builder, mappings) })
    taken[#taken + 1] = "hosts"
  end
  query:remove(unpack(taken))
  for key, value in pairs(query.map) do
    metadata[key] = value
  end
  local interface = query:text("interface")
  if interface ~= "" then
    metadata.interface = interface
    query:remove("interface")
  end
  for _, key in ipairs { "so_mark", "proxyProtocol" } do
    local value = query:int(key)
    if value > 0 then
      metadata[key] = value
      query:remove(key)
    end
  end
end

-- The hop keeps what has no prefix or its own, secrets and TLS parameters included, as gost does.
local function hop_metadata(map)
  local made = {}
  for key, value in pairs(map) do
    local side, rest = key:match("^(%l+)%.(.+)$")
    if side == "hop" then
      made[rest] = value
    elseif not (side == "node" or side == "connector" or side == "dialer")
      and made[key] == nil then
      made[key] = value
    end
  end
  return params.or_nil(made)
end

local function node_template(builder, parsed, query)
  local connector, dialer = params.split_scheme(builder, parsed.scheme, { "connector", "dialer" })
  local auth, err = params.read_auth(parsed, query)
  if err then
    return nil, err
  end
  query:remove("auth")
  local tls = read_client_tls(query, parsed.host)
  local maps = params.distribute(query.map, { "hop", "node", "connector", "dialer" })
  local node = {
    connector = { type = connector, metadata = params.or_nil(maps.connector) },
    dialer = { type = dialer, tls = tls, metadata = params.or_nil(maps.dialer) },
    metadata = params.or_nil(maps.node),
  }
  node[SSH[dialer] and "dialer" or "connector"].auth = auth

  local by_path = params.has_part(parsed.scheme, PATH_SCHEMES) or PATH_SCHEMES[connector]
    or PATH_SCHEMES[dialer]
  node.addr = parsed.host == "" and by_path and parsed.path or parsed.host
  return node
end

--- Add the hop of one -F to what a tidegate.config.url builder makes.  @return true | nil, err
function M.add(builder, text)
  local parsed, err = M.normalize(text)
  if not parsed then
    return nil, err
  end
  local query, metadata = params.new(params.copy(parsed.query)), {}
  local chain = builder.config.chains[1]
  local hop = { name = ("hop-%d"):format(#chain.hops), nodes = {} }
  lift_hop(builder, hop, query, metadata)

  local template
  template, err = node_template(builder, parsed, query)
  if not template then
    return nil, err
  end
  for _, addr in ipairs(params.split_list(template.addr)) do
    local node = params.copy(template)
    node.name, node.addr = ("node-%d"):format(#hop.nodes), addr
    hop.nodes[#hop.nodes + 1] = node
  end
  if #hop.nodes == 0 then
    local kind = template.connector.type
    local direct = kind == "direct" or kind == "virtual"
    builder:warn(direct and ("without an address there is no node, and the route ends here; "
      .. "write %s://:0"):format(kind) or "no address of a proxy", direct and "warning" or "error")
  end
  hop.metadata = hop_metadata(metadata)
  chain.hops[#chain.hops + 1] = hop
  builder.made[#builder.made + 1] = hop
  return true
end

return M
