-- What belongs to one connection, handed along through all stages.
--
-- The table is small and most of its fields are made when somebody asks.  See docs/scripting.md for
-- what scripts may rely on.

local addr = require "tidegate.net.addr"
local auth = require "tidegate.policy.auth"
local endpoints = require "tidegate.chain.endpoints"
local failure = require "tidegate.failure"
local metering = require "tidegate.process.metering"
local record = require "tidegate.process.record"
local relay = require "tidegate.native.relay"
local router = require "tidegate.chain.router"
local sid = require "tidegate.process.sid"
local stage = require "tidegate.stage"
local stats = require "tidegate.process.stats"
local task = require "tidegate.native.task"

local now = task.now
local relay_start = relay.start

local LINGER = 30000 -- ms a tunnel may stay silent after one side has finished; gost: 10 s

local M = {}
local methods = {}

-- Fields made on demand, once.
local lazy = {}
-- Fields that may differ each time.
local computed = {}

function lazy.sid()
  return sid.new()
end

function lazy.remote(ctx)
  return ctx.stream:remote_address() or "@"
end

function lazy.local_address(ctx)
  return ctx.stream:local_address() or "@"
end

function lazy.client(ctx)
  return rawget(ctx, "src") or ctx.remote
end

function lazy.dst(ctx)
  return ctx.local_address
end

function lazy.client_ip(ctx)
  return addr.host(ctx.client)
end

function lazy.vars()
  return {}
end

function lazy.log(ctx)
  return ctx.service.handler_log:extend(record.fields(ctx))
end

function computed.chain(ctx)
  return ctx.service.chain
end

--- What the strategy "hash" looks at: the client, or with the handler's `hash=host` the target.
function computed.hash_source(ctx)
  local handler = ctx.service.handler
  if handler and handler.md.hash == "host" and ctx.target then
    return ctx.target
  end
  return ctx.client_ip
end

--- "node-0@192.0.2.1:1080 > example.com:443", once there is a route.
function computed.route(ctx)
  local path = rawget(ctx, "path")
  return path and path:text(ctx.target or "") or nil
end

local mt = { __name = "tidegate.context" }

function mt.__index(ctx, key)
  local method = methods[key]
  if method then
    return method
  end
  local make = lazy[key]
  if make then
    local value = make(ctx)
    ctx[key] = value
    return value
  end
  local compute = computed[key]
  return compute and compute(ctx)
end

-- Room for what most connections get, so that the table never grows: sixteen fields, which is a size that tables
-- have.  The next size is for services that want to know who comes.
local function new_small(service, stream)
  return {
    service = service,
    stages = service.stages,
    stream = stream,
    started = now(),
    asked = nil, asked_network = nil, client = nil, handled = nil, local_address = nil, log = nil, network = nil,
    path = nil, relayed = nil, remote = nil, sid = nil, target = nil,
    nil,
  }
end

local function new_large(service, stream)
  return {
    service = service,
    stages = service.stages,
    stream = stream,
    started = now(),
    asked = nil, asked_network = nil, client = nil, client_ip = nil, client_key = nil, handled = nil,
    local_address = nil, log = nil, meters = nil, network = nil, path = nil, relayed = nil, remote = nil, sid = nil,
    target = nil, unanswered = nil, user = nil,
    nil,
  }
end

--- @param stream the accepted stream (or packet endpoint); nil for work that no client asked for
function M.new(service, stream)
  return setmetatable(service.asks and new_large(service, stream) or new_small(service, stream), mt)
end

--- Make the context of a connection again from what travelled with its relay.
function M.restore(fields)
  return setmetatable(fields, mt)
end

--- @return the moment `seconds` from now on the loop's clock (ms), or nil for no limit
function methods:after(seconds) -- luacheck: ignore self
  if seconds and seconds > 0 then
    return now() + seconds * 1000
  end
end

--- Have one more meter (tidegate.native.meter) count and limit the connection, until it is over.
methods.add_meter = metering.add

--- Have something closed when the connection is over.  @return it
function methods:own(thing)
  self[#self + 1] = thing
  return thing
end

-- Authentication ----------------------------------------------------------------------------------

local function skips_auth(ctx)
  local skip = ctx.service.skip_auth
  return skip ~= nil and skip(ctx.client_ip)
end

--- @return whether the client has to show credentials
function methods:needs_auth()
  return self.service.auther ~= nil and not skips_auth(self)
end

stage.define("authenticate", function(ctx, user, password)
  local auther = ctx.service.auther
  if not auther then
    return true
  elseif skips_auth(ctx) then
    return true
  end
  local id, err = auth.check(auther, ctx, user, password)
  if not id then
    return nil, err
  end
  ctx.user = id
  return true
end)

--- Check credentials.  @return true | nil, err (code "auth")
function methods:authenticate(user, password)
  local ok, err = self.stages.authenticate(self, user, password)
  if ok then
    if type(ok) == "string" then
      self.user = ok
    end
    metering.authenticated(self)
    return true
  end
  return nil, failure.is(err) and err or failure.new("auth", err and tostring(err) or "refused")
end

-- Requests ----------------------------------------------------------------------------------------

-- A bypass is about what clients ask for: a target of the service's own choice (`own_target`) is none of
-- its business.
stage.define("request", function(ctx, network, address)
  ctx.network, ctx.target = network, address
  local bypass = ctx.service.bypass
  if bypass and not rawget(ctx, "own_target")
    and bypass:contains(ctx, network, address, not bypass.plain and { host = address } or nil) then
    return nil, failure.new("blocked", "bypass: " .. address, { level = "debug" })
  end
  return true
end)

--- Ask whether the client may go where it wants.  A hook may send it elsewhere: connect() and packets()
-- with the same address then go there.  @return true | nil, err (code "blocked")
function methods:allow(network, address)
  self.asked, self.asked_network = address, network
  self.network, self.target = network, address
  local ok, err = self.stages.request(self, network, address)
  if ok then
    stats.client(self)
    metering.directed(self)
    return true
  end
  self.asked = nil
  return nil, failure.is(err) and err or failure.new("blocked", err and tostring(err) or "refused", { addr = address })
end

-- What was allowed, asking now if nobody has.
local function allowed(ctx, network, address)
  if rawget(ctx, "asked") ~= address or ctx.asked_network ~= network then
    local ok, err = ctx:allow(network, address)
    if not ok then
      return nil, err
    end
  end
  return ctx.network, ctx.target
end

--- Connect to a target through the service's chain: stages route, resolve, dial, connect, with retries.
-- @param network "tcp", "unix", or "udp" (a stream that a chain's last node makes of it)
-- @param options nil or { chain = instead of the service's: a name, a URL, or a list of such }
-- @return stream, closed with the connection | nil, err
function methods:connect(network, address, options)
  if options and options.chain then
    self.chain = self.service.registry:as_chain(options.chain)
  end
  local real_network, target = allowed(self, network, address)
  if not real_network then
    return nil, target
  end
  record.dial(self, target)
  local stream, err = router.connect(self, real_network, target)
  if not stream then
    record.dial(self, target, true)
    return nil, err
  end
  self[#self + 1] = stream
  return stream
end

--- A packet endpoint to one destination, or with the address "" to any.
-- @param options as for connect()
-- @return endpoint, closed with the connection | nil, err
function methods:packets(network, address, options)
  if options and options.chain then
    self.chain = self.service.registry:as_chain(options.chain)
  end
  local target = address
  if address ~= "" then
    local real_network
    real_network, target = allowed(self, network, address)
    if not real_network then
      return nil, target
    end
    record.dial(self, target)
  else
    stats.client(self)
    metering.directed(self)
  end
  local endpoint, err = endpoints.open(self, network, target)
  if not endpoint then
    if address ~= "" then
      record.dial(self, target, true)
    end
    return nil, err
  end
  self[#self + 1] = endpoint
  return endpoint
end

-- Relaying ----------------------------------------------------------------------------------------

-- Options for C are made once per table of options, and once for those who bring none.
local default_options
local made = setmetatable({}, { __mode = "k" })

local function options_for(options)
  if not options then
    default_options = default_options or relay.options { linger = LINGER }
    return default_options
  elseif type(options) ~= "table" then
    return options
  end
  local ready = made[options]
  if not ready then
    ready = relay.options {
      idle = options.idle,
      linger = options.linger or LINGER,
      up = options.up,
      down = options.down,
      up_limit = options.up_limit,
      down_limit = options.down_limit,
      meter = options.meter,
    }
    made[options] = ready
  end
  return ready
end

stage.define("relay", function(ctx, a, b, options)
  options = options_for(options)
  local ok, err = record.relay(ctx, a, b, options)
  if ok then
    ctx.relayed = true
    return true
  elseif err then
    return nil, err
  end
  local tag = record.begin(ctx, a, b)
  ok, err = relay_start(a, b, options, tag)
  if not ok then
    record.cancel(ctx, tag)
    return nil, err
  end
  ctx.relayed = true
  return true
end)

--- Join the client's stream `a` and another one; the handler's last act.
-- @param options nil or { idle = ms, linger = ms, up, down = counters, up_limit, down_limit = buckets };
--   keep one table for all connections, it is prepared once
-- @return true | nil, err
function methods:relay(a, b, options)
  metering.directed(self) -- to where nobody had to ask for
  return self.stages.relay(self, a, b, options)
end

--- The same for two packet endpoints.
function methods:relay_packets(a, b, options)
  metering.directed(self)
  local tag = record.begin(self, a, b)
  local ok, err = endpoints.relay(self, a, b, metering.packet_options(self, options), tag)
  if not ok then
    record.cancel(self, tag)
    return nil, err
  end
  self.relayed = true
  return true
end

--- Close what the connection opened and nobody has taken over.
function M.close(ctx)
  for i = #ctx, 1, -1 do
    ctx[i]:close()
  end
  local stream = ctx.stream
  if stream then
    stream:close()
  end
end

return M
