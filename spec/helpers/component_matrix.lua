-- Which listeners, handlers, dialers and connectors go together: the one table that the matrix of
-- spec/integration/component_*_spec.lua is generated from, and the table in docs/transports.md.
--
-- The components themselves are read from the registry.  One that is not mentioned here is taken for what most
-- are: a listener that carries bytes both ways for the dialer of its name, with every handler; a handler that
-- the connector of its name speaks to, over every listener.  So a new component is in the matrix from its first
-- day, and fails there if it needs something else; then that is said here.

local component = require "tidegate.component"

local M = {}

local FORWARDING = { "forward", "tcp", "unix" }

-- user, password, and a password that is wrong
local PASSWORD = { "alice", "in wonderland", "behind the looking-glass" }
local SHADOWSOCKS = { "aes-256-gcm", "in wonderland", "behind the looking-glass" }

--- What is special about listeners.
-- dialers: who speaks to it, if not the one of its name
-- half_close = false: the end of one direction is the end of both
-- datagrams: carries datagrams, no bytes
-- unix: its address is a path
-- far: it listens at the far end of a chain, for "tcp", "udp" or "unix"
-- auth: asks for a password itself
-- bare: plain clients of handlers connect to it by a socket, "tcp" or with TLS, "tls"; others need its dialer
-- metadata: what it needs to be told
M.listeners = {
  http2 = { dialers = { "http2", "tls", "utls" } },
  mtcp = { half_close = false },
  mtls = { half_close = false },
  mws = { half_close = false },
  mwss = { half_close = false },
  ohttp = { dialers = { "ohttp", "ohttps" } },
  pht = { half_close = false },
  phts = { half_close = false },
  redirect = { dialers = { "tcp" }, bare = "tcp" },
  rtcp = { dialers = { "tcp" }, far = "tcp", half_close = false, bare = "tcp" },
  rudp = { dialers = { "udp" }, far = "udp", datagrams = true },
  runix = { dialers = { "unix" }, far = "unix", half_close = false, bare = "tcp" },
  ssh = { auth = PASSWORD },
  sshd = { auth = PASSWORD },
  tcp = { bare = "tcp" },
  tls = { dialers = { "tls", "utls" }, bare = "tls" },
  udp = { datagrams = true, metadata = { keepalive = true } },
  unix = { unix = true, bare = "tcp" },
}

--- What is special about handlers.
-- connectors: who speaks to it, if not the one of its name
-- auth: what it asks for; nothing: a name and a password; false: nothing
-- forwards: it goes to a target of its own, "tcp" or "unix"
-- serves: a page it serves itself
-- metadata: what it needs to be told; FOLDER stands for one
M.handlers = {
  api = { connectors = FORWARDING, auth = false, serves = "/config" },
  auto = { connectors = { "http", "http2", "socks4", "socks5" }, metadata = { udp = true } },
  file = { connectors = FORWARDING, auth = false, serves = "/page", metadata = { dir = "FOLDER" } },
  forward = { connectors = FORWARDING, auth = false, forwards = "tcp" },
  http = { connectors = { "http", "http2" }, metadata = { udp = true } },
  http2 = { connectors = { "http", "http2" }, metadata = { udp = true } },
  metrics = { connectors = FORWARDING, auth = false, serves = "/metrics" },
  relay = {},
  sni = { auth = false },
  socks5 = { metadata = { udp = true } },
  ss = { auth = SHADOWSOCKS, metadata = { readTimeout = "1s" } }, -- strangers are kept waiting for so long
  sshd = { auth = false },
  ssu = { auth = SHADOWSOCKS },
  tcp = { connectors = FORWARDING, auth = false, forwards = "tcp" },
  udp = { connectors = FORWARDING, auth = false, forwards = "tcp" },
  unix = { connectors = FORWARDING, auth = false, forwards = "unix" },
}

--- What is special about connectors.
-- auth: what it can say; nothing: what the handler asks for
-- speaks_first = false: the client must speak before the target can
-- datagrams: it carries nothing else
M.connectors = {
  sni = { speaks_first = false },
  socks4 = { auth = { "alice", "", "" }, wrong_user = "mallory" },
  ssu = { datagrams = true },
}

--- Dialers that give no stream of bytes, but a door for the connector of the same name.
M.doors = { http2 = true, sshd = true, udp = true }

--- Components the matrix has no use for, and why; specs of their own try them.
M.special = {
  listener = {
    serial = "needs a device",
    stdio = "is one connection, which the process begins with",
  },
  handler = {
    redirect = "goes where the packet filter says that a connection was going",
    serial = "needs a device",
  },
  dialer = {
    direct = "reaches no listener, and goes with the connector `direct`",
    serial = "needs a device",
  },
  connector = {
    direct = "speaks to no handler, and goes with the dialer `direct`",
    serial = "needs a device",
  },
}

local function except(...)
  local names = {}
  for _, name in ipairs { ... } do
    names[name] = true
  end
  return function(name)
    return not names[name]
  end
end

local function any(...)
  local other = except(...)
  return function(name)
    return not other(name)
  end
end

--- What goes together by its ends, and makes no sense all the same.  The first that applies is the reason.
-- refused: the end whose configuration is refused for it, "server" or "client"; others find no common words
M.senseless = {
  { listener = any "sshd", handler = except "sshd",
    why = "its channels name a target, which only the handler sshd asks for" },
  { handler = any "sshd", listener = except "sshd", refused = "server",
    why = "takes the target from a channel of the listener sshd" },
  { listener = any("rudp", "udp"), handler = except("forward", "ssu", "tcp", "udp"), refused = "server",
    why = "datagrams need a handler of datagrams" },
  { listener = any "http2", handler = except("api", "auto", "file", "http", "http2", "metrics", "sni"),
    why = "each stream is a request, in the shape of HTTP" },
  { dialer = any "http2", connector = except "http2", refused = "client",
    why = "asks for a CONNECT of the connector http2" },
  { connector = any "http2", dialer = except "http2", refused = "client",
    why = "sends its CONNECT over a session of the dialer http2" },
  { listener = any "http2", dialer = any("tls", "utls"), connector = any("socks4", "socks5"),
    why = "who speaks no HTTP/2 there speaks HTTP/1.1" },
}

local YAMUX, OTHER_SMUX = { ["mux.type"] = "yamux" }, { ["mux.version"] = 2 }

--- Other ways to be, which are tried with a few protocols.
-- both: metadata of listener and dialer; dialer_metadata: of it alone; service, node: metadata of those
M.transport_variants = {
  grpc = { clear = { both = { ["grpc.insecure"] = true, ["grpc.path"] = "tide.Gate/Pass" } } },
  h2 = { path = { both = { path = "/tunnel" }, dialer_metadata = { host = "cover.example" } } },
  h2c = { path = { both = { path = "/tunnel" } } },
  mtcp = { yamux = { both = YAMUX, half_close = true }, v1 = { both = { ["mux.version"] = 1 } } },
  mtls = { yamux = { both = YAMUX, half_close = true }, v2 = { both = OTHER_SMUX } },
  mws = {
    yamux = { both = YAMUX, half_close = true },
    deflate = { both = { ["mux.version"] = 2, path = "/there", enableCompression = true } },
  },
  mwss = { v2 = { both = OTHER_SMUX } },
  ohttp = { host = { dialer_metadata = { host = "cover.example" } } },
  otls = { host = { dialer_metadata = { host = "cover.example" } } },
  pht = { paths = { both = { authorizePath = "/a", pushPath = "/b", pullPath = "/c" } } },
  tcp = {
    proxy1 = { service = { proxyProtocol = 1 }, node = { proxyProtocol = 1 }, bare = false },
    proxy2 = { service = { proxyProtocol = 2 }, node = { proxyProtocol = 2 }, bare = false },
  },
  tls = { proxy2 = { service = { proxyProtocol = 2 }, node = { proxyProtocol = 2 }, bare = false } },
  ws = {
    deflate = { both = { path = "/there", enableCompression = true }, dialer_metadata = { host = "cover.example" } },
    pings = { dialer_metadata = { keepalive = true, ttl = "1s" } },
  },
  wss = { deflate = { both = { enableCompression = true } } },
}

--- The same of protocols.  connector_metadata: of it; auth: what both say
M.protocol_variants = {
  http = { header = { connector_metadata = { header = { ["X-Tide"] = "gate" } } } },
  relay = { nodelay = { connector_metadata = { nodelay = true } } },
  socks4 = { plain = { connector_metadata = { disable4a = true } } },
  socks5 = { associate = { connector_metadata = { relay = "udp", notls = true } } },
  ss = {
    blake3 = { auth = { "2022-blake3-aes-128-gcm", "AAECAwQFBgcICQoLDA0ODw==", "ICEiIyQlJicoKSorLC0uLw==" } },
    chacha = { auth = { "chacha20-ietf-poly1305", "tide" } },
  },
  ssu = {
    blake3 = { auth = { "2022-blake3-aes-256-gcm", ("AAEC"):rep(10) .. "AAE=" } },
  },
}

--- Why a combination makes no sense, or nil.
-- @param one { listener, dialer, handler, connector }
-- @return text, the end that is refused
function M.why_not(one)
  for _, rule in ipairs(M.senseless) do
    local applies = true
    for kind, test in pairs(rule) do
      applies = applies and (type(test) == "string" or test(one[kind]))
    end
    if applies then
      return rule.why, rule.refused
    end
  end
end

-- The registry -----------------------------------------------------------------------------------

-- Names of components, without aliases and without those that are special.
local function names(kind)
  local list = {}
  for _, name in ipairs(component.known(kind)) do
    local item = component.find(kind, name)
    if item and item.name == name and not (M.special[kind] or {})[name] then
      list[#list + 1] = name
    end
  end
  return list
end

-- @return the aliases of a component, sorted
local function aliases(kind, name)
  local list = { unpack(component.find(kind, name).aliases) }
  table.sort(list)
  return list
end

--- @return a list of transports: { listener, dialer, name, half_close, datagrams, unix, far, bare, auth, metadata }
function M.transports()
  local list = {}
  for _, name in ipairs(names "listener") do
    local special = M.listeners[name] or {}
    local dialers = special.dialers or { component.find("dialer", name) and name }
    for _, dialer in ipairs(dialers) do
      list[#list + 1] = {
        listener = name,
        dialer = dialer,
        name = name == dialer and name or dialer .. "-to-" .. name,
        half_close = special.half_close ~= false,
        datagrams = special.datagrams or false,
        unix = special.unix or special.far == "unix",
        far = special.far,
        auth = special.auth,
        bare = special.bare,
        metadata = special.metadata,
      }
    end
  end
  return list
end

-- Copies of what has variants.
local function varied(list, variants, key)
  local new = {}
  for _, one in ipairs(list) do
    for variant, fields in pairs(one.name == one[key] and variants[one.name] or {}) do
      local copy = {}
      for _, from in ipairs { one, fields } do
        for field, value in pairs(from) do
          copy[field] = value
        end
      end
      copy.name = ("%s(%s)"):format(one.name, variant)
      new[#new + 1] = copy
    end
  end
  table.sort(new, function(a, b)
    return a.name < b.name
  end)
  return new
end

--- @return the variants of transports
function M.varied_transports()
  return varied(M.transports(), M.transport_variants, "listener")
end

-- What the two ends of a protocol are told: user, password, another password.
local function secret(handler, connector)
  if handler.auth == false then
    return nil
  end
  local said = connector.auth or handler.auth or PASSWORD
  return { user = said[1], password = said[2], wrong = said[3], wrong_user = connector.wrong_user or said[1] }
end

local function protocol(handler, connector)
  local served, spoken = M.handlers[handler] or {}, M.connectors[connector] or {}
  return {
    handler = handler,
    connector = connector,
    name = handler == connector and handler or connector .. "-to-" .. handler,
    secret = secret(served, spoken),
    forwards = served.forwards,
    serves = served.serves,
    metadata = served.metadata,
    speaks_first = spoken.speaks_first ~= false,
    bytes = not spoken.datagrams,
    packets = component.find("connector", connector).packets ~= nil and not served.serves and not served.forwards,
  }
end

--- @param with_aliases whether other names of handlers and connectors count as well
-- @return a list of protocols: { handler, connector, name, secret, forwards, serves, metadata, speaks_first, bytes,
--   packets }
function M.protocols(with_aliases)
  local list = {}
  for _, name in ipairs(names "handler") do
    local special = M.handlers[name] or {}
    local connectors = special.connectors or { component.find("connector", name) and name }
    for _, connector in ipairs(connectors) do
      list[#list + 1] = protocol(name, connector)
      for _, alias in ipairs(with_aliases and aliases("handler", name) or {}) do
        list[#list + 1] = protocol(name, connector)
        list[#list].handler, list[#list].name = alias, connector .. "-to-" .. alias
      end
      for _, alias in ipairs(with_aliases and aliases("connector", connector) or {}) do
        list[#list + 1] = protocol(name, connector)
        list[#list].connector, list[#list].name = alias, alias .. "-to-" .. name
      end
    end
  end
  return list
end

--- @return the variants of protocols
function M.varied_protocols()
  local list = varied(M.protocols(), M.protocol_variants, "handler")
  for _, one in ipairs(list) do
    local auth = one.auth
    if auth then
      one.secret = { user = auth[1], password = auth[2], wrong = auth[3] or auth[2]:reverse(), wrong_user = auth[1] }
    end
  end
  return list
end

--- @return protocols whose handler looks into what it carries
function M.sniffing_protocols()
  local list = {}
  for _, one in ipairs(M.protocols()) do
    local schema = component.find("handler", one.handler).metadata
    if one.handler == one.connector and not one.forwards and component.has_key(schema, "sniffing") then
      local metadata = { sniffing = true }
      for key, value in pairs(one.metadata or {}) do
        metadata[key] = value
      end
      one.metadata = metadata
      one.name, one.sniffs = one.name .. "(sniffing)", true
      list[#list + 1] = one
    end
  end
  return list
end

--- @return the protocols of these names
function M.chosen(wanted)
  local list = {}
  for _, one in ipairs(M.protocols()) do
    for _, name in ipairs(wanted) do
      list[#list + 1] = one.name == name and one or nil
    end
  end
  return list
end

--- What makes sense over a transport.
-- @return a list of protocols; a list of those that do not: { protocol, why, refused }
function M.over(transport, protocols)
  local good, bad = {}, {}
  for _, one in ipairs(protocols) do
    local why, refused = M.why_not {
      listener = transport.listener, dialer = transport.dialer, handler = one.handler, connector = one.connector,
    }
    if why then
      bad[#bad + 1] = { protocol = one, why = why, refused = refused }
    else
      good[#good + 1] = one
    end
  end
  return good, bad
end

--- Components of the registry that no combination has: what the matrix has been told nothing of.
-- @return a list of texts
function M.left_out()
  local seen = {}
  for _, transport in ipairs(M.transports()) do
    for _, one in ipairs((M.over(transport, M.protocols()))) do
      seen["listener " .. transport.listener], seen["dialer " .. transport.dialer] = true, true
      seen["handler " .. one.handler], seen["connector " .. one.connector] = true, true
    end
  end
  local missing = {}
  for _, kind in ipairs(component.KINDS) do
    for _, name in ipairs(names(kind)) do
      if not seen[kind .. " " .. name] then
        missing[#missing + 1] = kind .. " " .. name
      end
    end
  end
  return missing
end

return M
