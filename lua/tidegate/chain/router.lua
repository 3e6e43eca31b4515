-- From a wish ("tcp", "example.com:443") to a connected stream: the stages route, resolve, dial and
-- connect, and what goes between them.

local addr = require "tidegate.net.addr"
local address_codec = require "tidegate.native.address"
local failure = require "tidegate.failure"
local load = require "tidegate.chain.load"
local metrics = require "tidegate.process.metrics"
local race = require "tidegate.chain.race"
local resolve = require "tidegate.net.resolve"
local route = require "tidegate.chain.route"
local sockets = require "tidegate.chain.sockets"
local stage = require "tidegate.stage"
local uv = require "luv"

local is_literal = address_codec.is_literal
local string_find = string.find

local M = {}

-- Networks whose addresses are no "host:port".
local NO_HOST = { unix = true, serial = true }

-- Ports a target may have; dialing with others makes no sense.
local function has_port(port)
  return port and port >= 0 and port <= 65535
end

--- Turn "host:port" into what can be dialed.
-- @param owner whose hosts and resolver are asked: a node, else the service
-- @return "ip:port" or a list of such | nil, err
function M.resolve(ctx, address, deadline, owner)
  if is_literal(address) then
    return address
  end

  local host, port = addr.split(address)
  if not has_port(port) then
    return nil, failure.new("invalid", "the address has no valid port", { op = "dial", addr = address })
  elseif host == "" then
    return addr.join("127.0.0.1", port)
  elseif string_find(host, "[%c%s%%]") then
    return nil, failure.new("invalid", "the host name is malformed", { op = "dial", addr = address })
  end

  local ips, err = ctx.stages.resolve(ctx, host, deadline, owner)
  if not ips then
    return nil, failure.is(err) and err or failure.new("resolve", err and tostring(err), { addr = host })
  end
  if type(ips) == "string" then
    return addr.join(ips, port)
  end
  local list = {}
  for i = 1, #ips do
    list[i] = addr.join(ips[i], port)
  end
  return list
end

-- What a resolver says.  "does not exist" are gost's words, for when it is so.
local function ask_resolver(resolver, ctx, host, deadline)
  local ips, err = resolver:resolve(ctx, "ip", host, deadline)
  if ips and #ips > 0 then
    return ips
  end
  local asked = failure.is(err) and err:root().code ~= "resolve"
  return nil, failure.new(err and err.code == "timeout" and "timeout" or "resolve",
    ("resolver: domain %s %s"):format(host, asked and "cannot be looked up" or "does not exist"), { cause = err })
end

stage.define("resolve", function(ctx, host, deadline, owner)
  owner = owner or ctx.service
  local hosts, resolver = owner.hosts, owner.resolver
  local ips = hosts and hosts:lookup(ctx, "ip", host)
  if ips and #ips > 0 then
    return ips
  elseif resolver then
    return ask_resolver(resolver, ctx, host, deadline)
  end
  return resolve.lookup(host, deadline)
end)

-- The address as the service's hosts and resolver have it, before a route is chosen.  Without them it is
-- left as it is: the name travels to the last proxy.
-- @param owner whose hosts and resolver: a node, else the service
-- @return address: the first there is; the others are for a direct dial, in ctx.found | nil, err
function M.target(ctx, network, address, deadline, owner)
  local from = owner or ctx.service
  if from.hosts == nil and from.resolver == nil or NO_HOST[network] or address == "" or is_literal(address) then
    return address
  end
  local host = addr.split(address)
  if host == "" or addr.is_ip(host) or rawget(ctx, "socks_command") then -- RESOLVE: for the last node to answer
    return address
  elseif not from.resolver then
    local ips = from.hosts:lookup(ctx, "ip", host)
    if not ips or #ips == 0 then
      return address
    end
  end
  local where, err = M.resolve(ctx, address, deadline, owner)
  if not where then
    return nil, err
  elseif type(where) == "string" then
    return where
  end
  if not owner then
    ctx.found = where
  end
  return where[1]
end

-- All addresses of a target that was looked up before its route was chosen.
local function found(ctx, address)
  local list = rawget(ctx, "found")
  return list and list[1] == address and list
end

stage.define("route", function(ctx, network, address)
  local chain = ctx.chain
  if not chain then
    return route.DIRECT
  end
  return chain:route(ctx, network, address)
end)

-- Straight to the target.
local function dial_target(ctx, network, address, deadline)
  local where, err = nil, nil
  if network == "unix" then
    where = "unix:" .. address
  elseif network == "serial" then
    return require("tidegate.net.serial").open(address)
  elseif network == "udp" then
    return nil, failure.new("unsupported", "a stream of datagrams needs a chain", { addr = address })
  else
    where = found(ctx, address)
    if not where then
      where, err = M.resolve(ctx, address, deadline)
    end
    if not where then
      return nil, err
    end
  end
  local stream
  stream, err = sockets.dial(ctx.service.sockets, ctx, where, deadline)
  if not stream then
    err.addr = err.addr or address
    return nil, err
  end
  return stream
end

local function dial_node(ctx, node, deadline)
  local where, err = node.where, nil
  if not where and (node.dialer.resolves == false or node.dialer.multiplex) then
    where = node.addr
  elseif not where then
    where, err = M.resolve(ctx, node.addr, deadline, node)
    if not where then
      return nil, err
    end
  end
  return node:dial(ctx, where, deadline)
end

-- node nil: the target itself
stage.define("dial", function(ctx, node, network, address, deadline)
  if node then
    return dial_node(ctx, node, deadline)
  end
  return dial_target(ctx, network, address, deadline)
end)

stage.define("connect", function(ctx, node, stream, network, address, deadline)
  return node:connect(ctx, stream, network, address, deadline)
end)

-- From one node to the next, which has a name of its own or one that the node before looks up.
local function go_on(ctx, stages, before, stream, node, deadline)
  local address, err = M.target(ctx, "tcp", node.addr, deadline, node)
  if not address then
    stream:close()
    return nil, err
  end
  return stages.connect(ctx, before, stream, "tcp", address, deadline)
end

-- The last node up to `last` whose dialer keeps sessions: the way begins there, and the nodes before
-- it are only travelled when it needs a new one.
local function first_step(path, last)
  for i = last, 2, -1 do
    local dialer = path[i].dialer
    if dialer and dialer.multiplex then
      return i
    end
  end
  return 1
end

local travel

-- How the dialer of node `i` (not the first) gets a stream to it, if it needs one.
local function way_to(ctx, stages, path, i)
  return function(deadline)
    local stream, err = travel(ctx, stages, path, deadline, i - 1)
    if not stream then
      return nil, err
    end
    return go_on(ctx, stages, path[i - 1], stream, path[i], deadline)
  end
end

-- A stream to the i-th node of a route: the first of the way is dialed, others are reached over a stream
-- to the node before.
local function approach(ctx, stages, path, i, stream, deadline)
  local node = path[i]
  if stream then
    return go_on(ctx, stages, path[i - 1], stream, node, deadline)
  end
  if i == 1 then
    if rawget(ctx, "via") then -- of the node whose dialer asked for this way
      ctx.via = nil
    end
    return stages.dial(ctx, node, "tcp", node.addr, deadline)
  end
  ctx.via = way_to(ctx, stages, path, i)
  local made, err = stages.dial(ctx, node, "tcp", node.addr, deadline)
  ctx.via = nil
  return made, err
end

-- Shake hands with a node.
local function arrive(ctx, node, stream, began, deadline)
  load.settle(ctx, node, stream)
  local upper, err = node:handshake(ctx, stream, deadline)
  if upper and began and node.latency then
    node.latency:note((uv.hrtime() - began) / 1e9)
  end
  return upper, err
end

-- Where several nodes are dialed at once, each over a way of its own, the route takes the winner.
local function race_for(ctx, stages, path, at, deadline)
  local ways, contest = {}, {}
  local winner, stream = race.run(path[at].racers, function(node)
    local way = { unpack(path, 1, at) }
    way[at], ways[node] = node, way
    local before, made, err
    if at > 1 and not node.dialer.multiplex then -- such a dialer asks for its way itself
      before, err = travel(ctx, stages, way, deadline, at - 1, contest)
      if not before then
        return nil, err
      end
    end
    made, err = approach(ctx, stages, way, at, before, deadline)
    if not made and not contest.over then
      node.mark:fail()
    end
    return made, err
  end)
  contest.over = true -- those who were given up did not fail
  if not winner then
    return nil, stream
  end
  for i = 1, at do
    path[i] = ways[winner][i]
  end
  load.claim(ctx, winner)
  return stream
end

local function last_race(path, first, last)
  for i = last, first, -1 do
    if path[i].racers then
      return i
    end
  end
end

-- A stream that leads to the node `last` of a route.  Whoever cannot be reached is marked.
-- @param contest nil, or the race { over } that this is a part of
function travel(ctx, stages, path, deadline, last, contest)
  local first, stream, err, began = first_step(path, last), nil, nil, nil
  local at = last_race(path, first, last)
  if at then
    began = uv.hrtime()
    stream, err = race_for(ctx, stages, path, at, deadline)
    if not stream then
      return nil, err
    end
    first = at
  end
  for i = first, last do
    local node = path[i]
    if i ~= at then
      began = (node.latency or metrics.on) and uv.hrtime()
      stream, err = approach(ctx, stages, path, i, stream, deadline)
    end
    if stream then
      stream, err = arrive(ctx, node, stream, began, deadline)
      if metrics.on and i == 1 and stream and began then
        metrics.connected(path, began)
      end
    end
    if not stream then
      if not (contest and contest.over) then
        node.mark:fail()
      end
      return nil, node:blame(err)
    end
    node.mark:ok()
  end
  return stream
end

--- Choose a route for one attempt.
-- @param address as it is dialed; as it was asked for is ctx.target
-- @return route | nil, err
function M.choose(ctx, network, address, try)
  local path, err = ctx.stages.route(ctx, network, address)
  if not path then
    return nil, failure.is(err) and err
      or failure.new("blocked", err and tostring(err) or "no route", { addr = address })
  end
  if not route.is(path) then
    path, err = ctx.service.registry:route(path, ctx, network, address)
    if not path then
      return nil, err
    end
  end
  ctx.path = path
  for i = 1, #path do
    load.claim(ctx, path[i])
  end
  local log = ctx.service.log
  if log.level <= 2 then
    ctx.log:debug(("route(retry=%d) %s"):format(try, path:text(address)))
  end
  return path
end

--- Reach the last node of a route, or nothing when it has none.
-- @return stream, node | nil, err
function M.reach(ctx, path, deadline)
  local stream, err = travel(ctx, ctx.stages, path, deadline, #path)
  if path.mark then
    if stream then
      path.mark:ok()
    else
      path.mark:fail()
    end
  end
  if not stream then
    if metrics.on then
      metrics.chain_failed(path)
    end
    return nil, err
  end
  return stream, path[#path]
end

--- One attempt: resolve where the service does so itself, route, then dial and connect.
-- @return stream | nil, err
function M.once(ctx, network, asked, deadline, try)
  local address, err = M.target(ctx, network, asked, deadline)
  if not address then
    return nil, err
  end
  local path
  path, err = M.choose(ctx, network, address, try)
  if not path then
    return nil, err
  elseif #path == 0 then
    return ctx.stages.dial(ctx, nil, network, address, deadline)
  end

  local stream, node = M.reach(ctx, path, deadline)
  if not stream then
    return nil, node
  end
  stream, err = ctx.stages.connect(ctx, node, stream, network, address, deadline)
  if not stream then
    return nil, node:blame(err)
  end
  return stream
end

--- Try something as often as the service allows, each time with a deadline of its own.
-- @param once function(ctx, network, address, deadline, try) → value | nil, err
function M.retry(ctx, once, network, address)
  local service = ctx.service
  local result, err
  for try = 0, service.retries do
    local deadline = ctx:after(service.dial_timeout)
    local limit = rawget(ctx, "deadline")
    if limit and (not deadline or limit < deadline) then
      deadline = limit
    end
    result, err = once(ctx, network, address, deadline, try)
    if result then
      return result
    end
    load.drop(ctx)
  end
  return nil, err
end

--- @return stream | nil, err
function M.connect(ctx, network, address)
  return M.retry(ctx, M.once, network, address)
end

return M
