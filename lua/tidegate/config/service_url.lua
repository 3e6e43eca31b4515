-- One -L: a URL to services.

local failure = require "tidegate.failure"
local params = require "tidegate.config.params"
local uri = require "tidegate.config.uri"

local M = {}

local MAX_RANGE = 65536

-- A service's host may be anything: it is cut out before the rest is parsed.
local function normalize_service(text)
  text = params.with_scheme(text)
  local head, rest = text:match("^(.-://)(.*)$")
  local authority, tail = rest:match("^([^/?]*)(.*)$")
  local userinfo, host = authority:match("^(.*@)(.*)$")
  local parsed, err = uri.parse(head .. (userinfo or "") .. tail, true)
  if not parsed then
    return nil, err
  end
  parsed.host = host or authority
  return params.fix_https(parsed)
end

local function single_port(text)
  local port = text:find("^[+-]?%d+$") and tonumber(text)
  return port and port >= 0 and port <= 65535 and port or nil
end

-- "host:8000-8002" to three addresses.  @return addresses | nil, err
local function expand_ports(builder, text)
  local host, port = uri.split_host_port(text)
  if not host then
    return { text }
  end
  local from, to = port:match("^(%d+)%-(%d+)$")
  if not from then
    local number = single_port(port)
    if not number then
      builder:warn(("%q is no port; 0 to 65535 or a range of them is"):format(port), "error")
    end
    return { uri.join_host_port(host, number or 0) }
  end
  from, to = tonumber(from), tonumber(to)
  if from > to then
    return { text }
  elseif to - from >= MAX_RANGE then
    return nil, failure.new("config", ("the port range %s is too long"):format(port))
  end
  local list = {}
  for number = from, to do
    list[#list + 1] = uri.join_host_port(host, number)
  end
  return list
end

local function read_targets(builder, text)
  local nodes = {}
  for _, item in ipairs(params.split_list(text)) do
    local addresses, err
    if item:find("://", 1, true) then
      addresses = { item }
    else
      addresses, err = expand_ports(builder, item)
    end
    if not addresses then
      return nil, err
    end
    for _, addr in ipairs(addresses) do
      nodes[#nodes + 1] = { name = ("%starget-%d"):format(builder.prefix, #nodes), addr = addr }
    end
  end
  return nodes
end

local PATH_SCHEMES = { unix = true, runix = true, serial = true }
local CHAIN_ON_LISTENER = { rtcp = true, rudp = true, runix = true }
local SSH = { ssh = true, sshd = true }
local FORWARDERS = {
  tcp = true, udp = true, rtcp = true, rudp = true, tun = true, tap = true, dns = true, unix = true,
  runix = true, serial = true,
}

local function read_server_tls(query)
  local tls = {
    certFile = query:text(unpack(params.CERT)),
    keyFile = query:text(unpack(params.KEY)),
    caFile = query:text(unpack(params.CA)),
  }
  query:remove(unpack(params.CERT))
  query:remove(unpack(params.KEY))
  query:remove(unpack(params.CA))
  if tls.certFile == "" then
    return nil
  end
  for key, value in pairs(tls) do
    tls[key] = value ~= "" and value or nil
  end
  return tls
end

-- Move what only the service knows out of the query.
local function lift_service(query)
  local lifted = {}
  for _, key in ipairs { "interface", "netns", "netns.out" } do
    local value = query:text(key)
    if value ~= "" then
      lifted[key] = value
      query:remove(key)
    end
  end
  for _, key in ipairs { "so_mark", "proxyProtocol" } do
    local value = query:int(key)
    if value > 0 then
      lifted[key] = value
      query:remove(key)
    end
  end
  return lifted
end

local function limit_line(key, from, into)
  local ingress, egress = from:text(key .. "in"), from:text(key .. "out")
  from:remove(key .. "in", key .. "out")
  if ingress ~= "" or egress ~= "" then
    -- gost leaves the place of a missing "in" empty, and "out" falls into it
    return ("%s %s %s"):format(into, ingress ~= "" and ingress or "0", egress)
  end
end

local function lift_limits(builder, service, handler)
  local limits = {}
  limits[#limits + 1] = limit_line("limiter.", handler, "$")
  limits[#limits + 1] = limit_line("limiter.conn.", handler, "$$")
  if #limits > 0 then
    service.limiter = builder:generated("limiters", "limiter", { limits = limits })
  end
  local count = handler:int("climiter")
  if count > 0 then
    handler:remove("climiter")
    local object = { limits = { ("$ %d"):format(count) } }
    service.climiter = builder:generated("climiters", "climiter", object)
  end
  local rate = tonumber(handler:text("rlimiter")) or 0
  if rate > 0 then
    handler:remove("rlimiter")
    local object = { limits = { ("$ %.14g"):format(rate) } }
    service.rlimiter = builder:generated("rlimiters", "rlimiter", object)
  end
end

-- Named objects made from the handler's parameters.
local function lift_handler(builder, service, handler)
  local retries = handler:int("retries")
  if retries > 0 then
    service.handler.retries = retries
    handler:remove("retries")
  end
  for list, key in pairs { admissions = "admission", bypasses = "bypass" } do
    local text = handler:text(key)
    if text ~= "" then
      service[key] = builder:generated(list, key, params.read_rules(text))
      handler:remove(key)
    end
  end
  local servers = handler:text("resolver")
  if servers ~= "" then
    service.resolver = builder:generated("resolvers", "resolver",
      { nameservers = params.read_nameservers(servers, handler:text("prefer")) })
    handler:remove("resolver")
  end
  local mappings = handler:text("hosts")
  if mappings ~= "" then
    service.hosts = builder:generated("hosts", "hosts",
      { mappings = params.read_mappings(builder, mappings) })
    handler:remove("hosts")
  end
  lift_limits(builder, service, handler)
end

-- Everything of a service but its address.
local function service_shape(builder, parsed)
  local handler, listener = params.split_scheme(builder, parsed.scheme, { "handler", "listener" })
  local path = parsed.path:gsub("^/+", ""):gsub("/+$", "")
  local shape = { handler = handler, listener = listener, host = parsed.host, targets = "" }
  if params.has_part(parsed.scheme, PATH_SCHEMES) and parsed.host == "" then
    shape.host = parsed.path
    shape.is_path = true
    return shape
  end
  if path ~= "" then
    shape.targets = path
    if handler ~= "relay" then
      shape.handler = FORWARDERS[listener] and listener or "forward"
    end
  elseif listener == "stdio" and parsed.host ~= "" then
    shape.targets = parsed.host
    shape.whole_target = true
    shape.handler = handler == "auto" and "tcp" or handler
  end
  return shape
end

local function make_service(builder, addr, shape, parsed, nodes)
  local query = params.new(params.copy(parsed.query))
  local auth, err = params.read_auth(parsed, query)
  if err then
    return nil, err
  end
  query:remove("auth")

  local service = {
    name = ("service-%d"):format(builder.services),
    addr = addr ~= "" and addr or nil,
    handler = { type = shape.handler },
    listener = { type = shape.listener },
  }
  builder.services = builder.services + 1
  service[SSH[shape.listener] and "listener" or "handler"].auth = auth
  service.listener.tls = read_server_tls(query)
  local dns = query:text("dns")
  if dns ~= "" then
    query.map.dns = params.split_list(dns)
  end
  local lifted = lift_service(query)
  local selector = params.read_selector(query)
  if nodes then
    service.forwarder = { selector = selector, nodes = nodes }
  end

  local maps = params.distribute(query.map, { "service", "handler", "listener" })
  for key, value in pairs(lifted) do
    maps.service[key] = value
  end
  lift_handler(builder, service, params.new(maps.handler))
  service.handler.metadata = params.or_nil(maps.handler)
  service.listener.metadata = params.or_nil(maps.listener)
  service.metadata = params.or_nil(maps.service)
  if builder.has_chain then
    local side = CHAIN_ON_LISTENER[shape.listener] and "listener" or "handler"
    service[side].chain = "chain-0"
  end
  return service
end

-- Which targets the i-th of `count` services gets.
local function targets_of(nodes, i, count)
  if #nodes == 0 then
    return nil
  elseif count == 1 or #nodes == 1 then
    return params.copy(nodes)
  end
  return nodes[i] and { nodes[i] } or nil
end

--- Add the services of one -L to what a tidegate.config.url builder makes.
-- @return true | nil, err
function M.add(builder, text)
  text = text:match("^%s*(.-)%s*$")
  if text == "" then
    return true
  end
  local parsed, err = normalize_service(text)
  if not parsed then
    return nil, err
  end
  local shape = service_shape(builder, parsed)
  local addresses, nodes = { shape.host }, {}
  if not shape.is_path then
    addresses, err = expand_ports(builder, shape.host)
  end
  if addresses and shape.whole_target then
    nodes = { { name = builder.prefix .. "target-0", addr = shape.targets } }
  elseif addresses then
    nodes, err = read_targets(builder, shape.targets)
  end
  if not addresses or not nodes then
    return nil, err
  end

  for i, addr in ipairs(addresses) do
    local service
    service, err = make_service(builder, addr, shape, parsed, targets_of(nodes, i, #addresses))
    if not service then
      return nil, err
    end
    builder.config.services = builder.config.services or {}
    builder.config.services[#builder.config.services + 1] = service
    builder.made[#builder.made + 1] = service
  end
  return true
end

return M
