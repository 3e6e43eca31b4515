-- A configuration as the -L and -F that make it.
--
-- URLs are written as well as they can be, read again, and compared with what was wanted: so whatever a
-- URL cannot say is found without a list of it.

local component = require "tidegate.component"
local duration = require "tidegate.config.duration"
local failure = require "tidegate.failure"
local params = require "tidegate.config.params"
local plain_form = require "tidegate.config.plain_form"
local readers = require "tidegate.config.readers"
local schema = require "tidegate.config.schema"
local url = require "tidegate.config.url"

local M = {}

local SSH = { ssh = true, sshd = true }
local CHAIN_ON_LISTENER = { rtcp = true, rudp = true, runix = true }
local PATHS = { unix = true, runix = true, serial = true }
local SIMPLE = {
  interface = "interface", netns = "netns", ["netns.out"] = "netns.out", so_mark = "so_mark",
  proxyprotocol = "proxyProtocol",
}

local function escape(text, plain)
  return (text:gsub("[^%w%-._~" .. plain .. "]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

local function is_known(kind, name)
  return component.find(kind, name) ~= nil
end

-- The shortest scheme that stands for both types.
local function scheme_of(first, second, sides)
  local silent = { known = is_known, warn = function() end }
  for _, scheme in ipairs { first, second } do
    local a, b = params.split_scheme(silent, scheme, sides)
    if a == first and b == second then
      return scheme
    end
  end
  return first .. "+" .. second
end

-- Whether all sides that read a key have this value, and there is such a side.
local function is_for_all(maps, kinds, key, value)
  local found, same = false, true
  for side, map in pairs(maps) do
    local reads = readers.knows(side, kinds[side], key)
    found, same = found or reads, same and (not reads or map[key] == value)
  end
  return found and same
end

-- Parameters: with the name of a side in front, unless all sides have the same or only these read it.
-- @param kinds side → type
local function add_maps(query, maps, kinds, spelling)
  local keys, count = {}, 0
  for _, map in pairs(maps) do
    count = count + 1
    for key, value in pairs(map) do
      keys[key] = keys[key] or {}
      table.insert(keys[key], value)
    end
  end
  for key, values in pairs(keys) do
    local same = #values == count
    for _, value in ipairs(values) do
      same = same and value == values[1]
    end
    local name = spelling[key] or key
    if type(values[1]) == "string" and (same or is_for_all(maps, kinds, key, values[1])) then
      query[name] = values[1]
    else
      for side, map in pairs(maps) do
        query[side .. "." .. name] = type(map[key]) == "string" and map[key] or nil
      end
    end
  end
end

local function add_selector(query, selector)
  if selector then
    query.strategy = selector.strategy
    query.maxFails = ("%d"):format(selector.maxFails)
    query.failTimeout = duration.format(selector.failTimeout)
  end
end

local function rules_text(rules)
  return (rules.whitelist and "~" or "") .. table.concat(rules.matchers or {}, ",")
end

local function column(items, write)
  local texts = {}
  for i, item in ipairs(items or {}) do
    texts[i] = write(item)
  end
  return #texts > 0 and table.concat(texts, ",") or nil
end

local function servers_text(resolver)
  return column(resolver.nameservers, function(server)
    return server.addr or ""
  end)
end

local function mappings_text(hosts)
  return column(hosts.mappings, function(mapping)
    return ("%s:%s"):format(mapping.hostname or "", mapping.ip or "")
  end)
end

-- What the handler's parameters make objects of.
local function add_objects(map, service)
  map.admission = service.admission and rules_text(service.admission)
  map.bypass = service.bypass and rules_text(service.bypass)
  map.resolver = service.resolver and servers_text(service.resolver)
  map.hosts = service.hosts and mappings_text(service.hosts)
  map.retries = service.handler.retries and ("%d"):format(service.handler.retries)
  for _, line in ipairs(service.limiter and service.limiter.limits or {}) do
    local key, from, to = line:match "^(%$%$?)%s+(%S+)%s*(%S*)$"
    local name = key == "$" and "limiter" or "limiter.conn"
    if key then
      map[name .. ".in"], map[name .. ".out"] = from, to ~= "" and to or nil
    end
  end
  for _, name in ipairs { "climiter", "rlimiter" } do
    local limits = service[name] and service[name].limits
    map[name] = limits and limits[1] and limits[1]:match "^%$%s+(%S+)$"
  end
end

local function query_text(query)
  local pairs_of = {}
  for key, value in pairs(query) do
    pairs_of[#pairs_of + 1] = ("%s=%s"):format(escape(key, ""), escape(value, "/:,@*$!"))
  end
  table.sort(pairs_of)
  return #pairs_of > 0 and "?" .. table.concat(pairs_of, "&") or ""
end

local function user_text(auth)
  if not auth then
    return ""
  end
  local password = auth.password and ":" .. escape(auth.password, "") or ""
  return escape(auth.username or "", "") .. password .. "@"
end

local function copy_maps(maps)
  local made = {}
  for side, map in pairs(maps) do
    made[side] = params.copy(map or {})
  end
  return made
end

-- The parameters that only the service, or the hop, takes for itself.
local function take_simple(query, map)
  for key, name in pairs(SIMPLE) do
    if type(map[key]) == "string" then
      query[name], map[key] = map[key], nil
    end
  end
end

local function compose(scheme, auth, host, path, query)
  local parts = PATHS[scheme:match "^[^+]*"] or PATHS[scheme:match "[^+]*$"]
  if parts and host:sub(1, 1) == "/" then
    host, path = "", host
  end
  return ("%s://%s%s%s%s"):format(scheme, user_text(auth), host, path, query_text(query))
end

local function service_url(service, spelling)
  local handler, listener, query = service.handler, service.listener, {}
  local maps = copy_maps {
    service = service.metadata or {}, handler = handler.metadata or {}, listener = listener.metadata or {},
  }
  take_simple(query, maps.service)
  add_maps(query, maps, { service = "", handler = handler.type, listener = listener.type }, spelling)
  add_objects(query, service)
  local tls = listener.tls or {}
  query.cert, query.key, query.ca = tls.certFile, tls.keyFile, tls.caFile
  local path = ""
  if service.forwarder then
    add_selector(query, service.forwarder.selector)
    path = "/" .. (column(service.forwarder.nodes, function(node)
      return node.addr or ""
    end) or "")
  end
  local scheme = scheme_of(handler.type, listener.type, { "handler", "listener" })
  local auth = SSH[listener.type] and listener.auth or handler.auth
  return compose(scheme, auth, service.addr or "", path, query)
end

local function hop_url(hop, spelling)
  local query, node = {}, hop.nodes and hop.nodes[1] or { connector = { type = "http" }, dialer = { type = "tcp" } }
  local connector, dialer = node.connector, node.dialer
  local maps = copy_maps {
    hop = hop.metadata or {}, node = node.metadata or {}, connector = connector.metadata or {},
    dialer = dialer.metadata or {},
  }
  take_simple(query, maps.hop)
  add_maps(query, maps, { hop = "", node = "", connector = connector.type, dialer = dialer.type }, spelling)
  add_selector(query, hop.selector)
  query.bypass = hop.bypass and rules_text(hop.bypass)
  query.resolver = hop.resolver and servers_text(hop.resolver)
  query.hosts = hop.hosts and mappings_text(hop.hosts)
  local tls = dialer.tls or {}
  query.cert, query.key, query.ca = tls.certFile, tls.keyFile, tls.caFile
  query.secure, query.serverName = tls.secure and "true" or nil, tls.serverName
  local addresses = column(hop.nodes, function(one)
    return one.addr or ""
  end) or ""
  local scheme = scheme_of(connector.type, dialer.type, { "connector", "dialer" })
  return compose(scheme, SSH[dialer.type] and dialer.auth or connector.auth, addresses, "", query)
end

local function chain_of(service)
  return (CHAIN_ON_LISTENER[service.listener.type] and service.listener or service.handler).chain
end

local ENDPOINTS = {
  api = { pathPrefix = "string", accesslog = "bool" },
  metrics = { path = "string" },
}

-- -api, -metrics, -D: what has a flag of its own.  @return list of words
local function other_flags(config, report)
  local words = {}
  for _, name in ipairs { "api", "metrics" } do
    local one = config[name]
    if one then
      local query = {}
      for key in pairs(ENDPOINTS[name]) do
        query[key] = one[key] and tostring(one[key]) or nil
      end
      local text = ("http://%s%s%s"):format(user_text(one.auth), one.addr or "", query_text(query))
      plain_form.compare(one, url.endpoint(text, ENDPOINTS[name]), name, report)
      words[#words + 1] = { "-" .. name, text }
    end
  end
  local log = config.log
  local level = log and log.level
  if log and next(log, next(log)) == nil and (level == "debug" or level == "trace") then
    words[#words + 1] = { level == "debug" and "-D" or "-DD" }
  elseif log and next(log) then
    report("log", "has no place in a URL")
  end
  for _, name in ipairs { "tls", "profiling", "scripts" } do
    if config[name] and next(config[name]) then
      report(name, "has no place in a URL")
    end
  end
  return words
end

local function report_unused(config, form, report)
  for _, list in ipairs(schema.LISTS) do
    for i, item in ipairs(list ~= "services" and config[list] or {}) do
      if not form.used[item] then
        report(("%s[%d]"):format(list, i - 1), ("(%s) is used by no service"):format(item.name or "no name"))
      end
    end
  end
end

-- Read the URLs again and tell what is not as it was.
local function verify(form, services, nodes, report)
  local config, problems = url.build(services, nodes, { known = is_known })
  for _, problem in ipairs(problems) do
    if problem.severity == "error" then
      report(problem.file, problem.message)
    end
  end
  local got = plain_form.of(config).services
  for i, service in ipairs(form.services) do
    plain_form.compare(service, got[i], ("services[%d]"):format(i - 1), report)
  end
end

local function quote(text)
  return text:find "[^%w%-._~:/@,%%+=]" and "'" .. text:gsub("'", "'\\''") .. "'" or text
end

--- Write a configuration as arguments of the command line, each flag on a line of its own.
-- @return text | nil, a list of failures that name what a URL cannot say
function M.write(config)
  local problems, seen = {}, {}
  local function report(path, message)
    path = path:gsub("^services%[%d+%]%.%w+%.chain%f[%W]", "chain")
    local text = ("%s %s"):format(path, message)
    if not seen[text] then
      seen[text] = true
      problems[#problems + 1] = failure.new("config", text)
    end
  end

  local form = plain_form.of(config)
  local services, nodes, lines, chain = {}, {}, {}, nil
  for i, service in ipairs(form.services) do
    services[i] = service_url(service, form.spelling)
    chain = chain or chain_of(service)
  end
  for i, hop in ipairs(chain and chain.hops or {}) do
    nodes[i] = hop_url(hop, form.spelling)
  end
  local flags = other_flags(config, report)
  report_unused(config, form, report)
  verify(form, services, nodes, report)
  if #problems > 0 then
    return nil, problems
  end
  for flag, texts in pairs { L = services, F = nodes } do
    for i, text in ipairs(texts) do
      lines[(flag == "L" and 0 or #services) + i] = ("-%s %s\n"):format(flag, quote(text))
    end
  end
  for _, words in ipairs(flags) do
    lines[#lines + 1] = words[1] .. (words[2] and " " .. quote(words[2]) or "") .. "\n"
  end
  return table.concat(lines)
end

return M
