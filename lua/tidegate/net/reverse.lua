-- Listening somewhere else: at the far end of the listener's chain, or here without one.
--
-- One worker does it, since the far end gives a port to one.  What is lost is asked for again, soon at
-- first, then every five seconds, for as long as the service is there.

local acceptors = require "tidegate.net.acceptor"
local addr = require "tidegate.net.addr"
local arrivals = require "tidegate.net.arrivals"
local failure = require "tidegate.failure"
local group = require "tidegate.chain.group"
local process = require "tidegate.native.process"
local router = require "tidegate.chain.router"
local task = require "tidegate.native.task"
local udp_peers = require "tidegate.net.udp_peers"

local M = {}
local methods = {}
local mt = { __name = "tidegate.reverse", __index = methods }

local BIND_TIMEOUT = 15 -- seconds
local PAUSES = { 1, 2, 4, 5 } -- seconds between attempts; the last one from then on
local GOOD_MS = 10000 -- of listening, after which the next pause is the first again

local function pause(self, seconds)
  self.sleeper:wait(task.now() + seconds * 1000)
end

-- A socket of ours, and who comes to it.
local function local_acceptor(network, address, options)
  local made, err = acceptors.listen(network == "unix" and "unix:" .. address or address, nil,
    network == "udp" and "datagram" or "stream")
  if not made then
    return nil, err
  elseif network == "udp" then
    return udp_peers.listen(made.fd, made:address(), options, function()
      made:close()
    end)
  end
  local queue = arrivals.new()
  local ok
  ok, err = made:start(function(stream)
    queue:push(stream, stream:remote_address() or "@")
  end)
  if not ok then
    made:close()
    return nil, err
  end
  return {
    address = function()
      return made:address()
    end,
    accept = function()
      return queue:pop()
    end,
    close = function()
      made:close()
      queue:close()
    end,
  }
end

--- Have the last node of a chain listen.
-- @param how function(connector, ctx, stream, deadline) → acceptor | nil, err
-- @return acceptor, the way there as text | nil, err
local function bind_through(self, how)
  local ctx = self.service:context()
  ctx.chain, ctx.remote, ctx.local_address = self.chain, "@", "@"
  local network, address = self.network, self.service.addr
  ctx.network, ctx.target = network, address
  local deadline = ctx:after(BIND_TIMEOUT)
  local path, err = router.choose(ctx, network, address, 0)
  if not path then
    return nil, err
  elseif #path == 0 then -- listening here instead would not be what was asked for
    return nil, failure.new("unreachable", "the chain has no node to listen at", { addr = address })
  end
  local connector = path[#path].connector
  if not connector.bind then
    return nil, path[#path]:blame(failure.new("unsupported",
      ("the connector %s cannot have its server listen; relay, socks5 and sshd can"):format(connector.name)))
  end
  local stream, node = router.reach(ctx, path, deadline)
  if not stream then
    return nil, node
  end
  local acceptor
  acceptor, err = how(connector, ctx, stream, deadline)
  if not acceptor then
    stream:close()
    return nil, node:blame(err)
  end
  return acceptor, path:text(address)
end

local function bind(self)
  local network, address = self.network, self.service.addr
  if self.chain then
    return bind_through(self, function(connector, ctx, stream, deadline)
      return connector:bind(ctx, stream, network, address, deadline, self.options)
    end)
  end
  local acceptor, err = local_acceptor(network, address, self.options)
  return acceptor, err or "here"
end

local function serve_peers(self, acceptor)
  local bound = acceptor:address() or self.service.addr
  local serve = self.network == "udp" and self.service.serve_session or self.service.serve
  while not self.closed do
    local stream, peer = acceptor:accept()
    if not stream then
      return peer
    end
    local host = peer and addr.host(peer)
    task.spawn(serve, self.service, stream, {
      remote = host and host ~= "" and peer or "@", local_address = bound,
    })
  end
end

local function listen(self)
  local failures = 0
  while not self.closed do
    local began = task.now()
    local acceptor, err = bind(self)
    if acceptor and self.closed then
      acceptor:close()
      return
    elseif acceptor then
      self.acceptor = acceptor
      self.service.log:info(("bound %s/%s, %s"):format(acceptor:address() or self.service.addr, self.network, err))
      err = serve_peers(self, acceptor)
      self.acceptor = nil
      acceptor:close()
    end
    if self.closed then
      return
    end
    failures = acceptor and task.now() - began > GOOD_MS and 1 or failures + 1
    local seconds = PAUSES[math.min(failures, #PAUSES)]
    self.service.log:warn(("%s: %s; again in %d s"):format(
      acceptor and "the remote listener is lost" or "cannot listen", tostring(err), seconds))
    pause(self, seconds)
  end
end

--- Stop listening; tunnels of the far end's session end with it.
function methods:close()
  if self.closed then
    return
  end
  self.closed = true
  if self.group then
    self.group:close()
  end
  if self.acceptor then
    self.acceptor:close()
  end
  self.sleeper:wake(true)
end

--- Take the chain, or the group of chains, of a reverse listener; its `open`.
function M.open(self)
  local service, err = self.service, nil
  if service.md.ignoreChain then
    return true
  end
  self.chain, err = group.chains(self.config, service.registry, service.name .. "/listener",
    "service " .. service.name)
  return not err, err
end

--- Listen for a service until the acceptor returned is closed.
-- @param network "tcp", "unix" or "udp"
-- @param options for udp: what tidegate.native.packet.split takes
function M.serve(listener, service, network, options)
  local self = setmetatable({
    service = service, network = network, options = options, chain = listener.chain, sleeper = task.waiter(),
    group = listener.chain and listener.chain.entries and listener.chain or nil,
  }, mt)
  if process.id() == 1 then
    if self.group then
      self.group:start_probes()
    end
    task.spawn(listen, self)
  end
  return self
end

return M
