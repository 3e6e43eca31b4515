-- Configurations for the matrix of components: services of servers, and of clients that lead to them.

local programs = require "spec.helpers.programs"

local M = {}

local folder
local places = 0

--- @return a path for a socket
function M.place()
  places = places + 1
  return ("%s/%d.sock"):format(folder, places)
end

--- Begin anew: sockets and pages go to a fresh folder.
function M.begin()
  folder = programs.folder()
  programs.file(folder, "page", "the page")
  return folder
end

local FAR = { connector = "relay", handler = "relay", metadata = { bind = true } }
local BESIDE = { listener = "unix", dialer = "unix", unix = true }

local function auth(user, password)
  return user and { username = user, password = password } or nil
end

local function merged(...)
  local new = {}
  for i = 1, select("#", ...) do
    for key, value in pairs((select(i, ...)) or {}) do
      new[key] = value == "FOLDER" and folder or value
    end
  end
  return next(new) and new or nil
end

--- A service for one protocol over one transport.
-- @param target where a forwarding handler goes
-- @param chain of the listener, for those that listen elsewhere
function M.server(name, transport, protocol, target, chain)
  local secret, metadata = protocol.secret, merged(transport.metadata, transport.both)
  local service = {
    name = name,
    metadata = transport.service,
    addr = transport.unix and M.place() or "127.0.0.1:0",
    listener = {
      type = transport.listener, metadata = metadata, chain = transport.far and chain,
      auth = transport.auth and auth(transport.auth[1], transport.auth[2]),
    },
    handler = {
      type = protocol.handler, metadata = merged(protocol.metadata),
      auth = secret and auth(secret.user, secret.password),
    },
  }
  local network = protocol.forwards and (transport.datagrams and "udp" or protocol.forwards)
  if network then
    service.forwarder = { nodes = { {
      name = "target", addr = target[network], network = network == "unix" and "unix" or nil,
    } } }
  end
  return service
end

--- A node of a chain.
-- @param wrong "dialer" or "connector": which of them says another password
function M.node(name, address, transport, protocol, wrong)
  local secret, own = protocol.secret, transport.auth
  return {
    name = name,
    addr = address,
    metadata = transport.node,
    dialer = {
      type = transport.dialer,
      metadata = merged(transport.both, transport.dialer_metadata),
      auth = own and auth(own[1], wrong == "dialer" and own[3] or own[2]),
    },
    connector = {
      type = protocol.connector,
      metadata = protocol.connector_metadata,
      auth = secret and (wrong == "connector" and auth(secret.wrong_user, secret.wrong)
        or auth(secret.user, secret.password)),
    },
  }
end

--- A chain of nodes, a hop each.
function M.chain(name, nodes)
  local hops = {}
  for i, node in ipairs(nodes) do
    hops[i] = { name = ("%s-%d"):format(name, i), nodes = { node } }
  end
  return { name = name, hops = hops }
end

--- A service that leads to a target by a chain.
-- @param network "tcp" or "udp"
function M.client(name, network, target, chain)
  return {
    name = name,
    addr = "127.0.0.1:0",
    listener = { type = network, metadata = network == "udp" and { keepalive = true, ttl = "60s" } or nil },
    handler = { type = network, chain = chain },
    forwarder = { nodes = { { name = "target", addr = target } } },
  }
end

--- A service for those that listen elsewhere, and the chain that leads to it; both are named "base".
function M.base()
  local service = M.server("base", BESIDE, FAR)
  return service, M.chain("base", { M.node("base", service.addr, BESIDE, FAR) })
end

return M
