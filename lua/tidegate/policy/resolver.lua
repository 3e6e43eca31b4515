-- Resolvers: name servers that are asked instead of the system, with a cache.
--
-- A resolver is a table with `resolve(self, ctx, network, host, deadline)` → list of IPs | nil, err; an
-- empty list means that everybody has answered and nobody knows an address.

local addr = require "tidegate.net.addr"
local cache = require "tidegate.net.dns.cache"
local failure = require "tidegate.failure"
local log = require "tidegate.process.log"
local server = require "tidegate.policy.resolver.server"
local task = require "tidegate.native.task"

local CACHE_SIZE = 10000 -- entries, unless the configuration says otherwise
local REFRESHES = 32 -- at once, for async

local M = {
  kind = "resolver",
  list = "resolvers",
  main = "resolve",
}
local methods = {}
local mt = { __name = "tidegate.resolver", __index = methods }

--- What stands in for a script that raised: the name has no address.
function M.on_error()
  return nil, failure.new("resolve", "the resolver's script raised an error")
end

-- Nameservers that are there; fn(server) → true | nil, err.
local function each_server(config, logger, fn)
  for i, item in ipairs(config.nameservers or {}) do
    if item.addr and item.addr:find "%S" then
      local ok, err = fn(item, i)
      if not ok and logger then
        logger:warn(("nameservers[%d]: %s; it is left out"):format(i - 1, tostring(err)))
      end
    end
  end
end

--- Say in the control thread, once for all workers, what is odd about the nameservers.
function M.prepare(config)
  local logger = log.default():with { "kind", "resolver", "resolver", config.name or "" }
  each_server(config, logger, function(item)
    return server.tell(item, logger)
  end)
  return {}
end

--- Make a resolver.  Nameservers whose address makes no sense are left out with a warning, as gost does.
-- @return resolver | nil, err
function M.new(config, env)
  local self = setmetatable({
    name = config.name,
    log = env.log,
    servers = {},
    parallel = config.parallel,
    negative = config.negativeTTL or 0,
    cache = cache.new(config.cacheSize and config.cacheSize > 0 and config.cacheSize or CACHE_SIZE),
    inflight = {},
    refreshing = 0,
  }, mt)
  each_server(config, not env.data and env.log or nil, function(item, i)
    local made, err = server.new(item, env, config.name)
    if made then
      made.index = i
      self.servers[#self.servers + 1] = made
      if not env.data then
        server.tell(item, env.log)
      end
    end
    return made, err
  end)
  return self
end

-- One question to one server --------------------------------------------------------------------

-- Addresses are good whoever has told them.  That there are none is the word of one server: another may
-- know better (gost keeps it for all of them, so that those after it are never asked).
local function store(self, one, key, found)
  if found.ttl then
    self.cache:set(#found.ips > 0 and key or key .. " " .. one.index, found, found.ttl, task.now())
  end
end

-- @return what is known, seconds it is still good for | nil
local function known(self, one, key)
  local now = task.now()
  local found, left = self.cache:get(key, now)
  if not found or left <= 0 then
    local none, none_left = self.cache:get(key .. " " .. one.index, now)
    if none and none_left > 0 then
      return none, none_left
    end
  end
  return found, left
end

-- Whoever waits is told, whatever happens.
local function fetch(self, one, key, name, record_type)
  local ok, found, err = pcall(one.ask, one, name, record_type, self.negative)
  local waiters = self.inflight[one][key]
  self.inflight[one][key] = nil
  if not ok then
    found, err = nil, failure.wrap(found)
    self.log:error(("nameserver %s: raised: %s"):format(one.name, tostring(err)))
  elseif found then
    store(self, one, key, found)
  end
  for i = 1, #waiters do
    waiters[i]:wake(found, err)
  end
end

-- Start an exchange, or join the one that asks the same.  @return its list of waiters
local function start(self, one, key, name, record_type)
  local running = self.inflight[one]
  if not running then
    running = {}
    self.inflight[one] = running
  end
  local waiters = running[key]
  if not waiters then
    waiters = {}
    running[key] = waiters
    task.spawn(fetch, self, one, key, name, record_type)
  end
  return waiters
end

local function refresh(self, one, key, name, record_type)
  local running = self.inflight[one]
  if self.refreshing >= REFRESHES or running and running[key] then
    return
  end
  self.refreshing = self.refreshing + 1
  local done = task.waiter()
  local waiters = start(self, one, key, name, record_type)
  waiters[#waiters + 1] = done
  task.spawn(function()
    done:wait()
    self.refreshing = self.refreshing - 1
  end)
end

-- @return list of IPs, maybe empty | nil, err
local function ask(self, one, name, record_type, deadline)
  local key = record_type .. " " .. name
  local found, left = known(self, one, key)
  local err
  if found and left <= 0 and one.async then
    refresh(self, one, key, name, record_type)
  elseif not found or left <= 0 then
    local waiter = task.waiter()
    local waiters = start(self, one, key, name, record_type)
    waiters[#waiters + 1] = waiter
    found, err = waiter:wait(deadline)
    if not found then
      return nil, err
    end
  end
  if found.err then
    return nil, found.err
  end
  return found.ips
end

-- Families in turn until one has addresses.  A server that does not answer at all is not asked twice.
local function ask_families(self, one, network, name, deadline)
  local ips, err
  for _, record_type in ipairs(one:types(network)) do
    ips, err = ask(self, one, name, record_type, deadline)
    if ips and #ips > 0 or err and not err.rcode then
      return ips, err
    end
  end
  return ips, err
end

-- Several servers --------------------------------------------------------------------------------

local function say_skipped(self, one, name, err)
  if err and self.log:enabled "debug" then
    self.log:debug(("nameserver %s: %s: %s"):format(one.name, name, tostring(err.cause or err)))
  end
end

-- Those that do not answer come last.
local function in_order(self)
  local failing = false
  for i = 1, #self.servers do
    failing = failing or self.servers[i].failing
  end
  if not failing then
    return self.servers
  end

  local first, last = {}, {}
  for i = 1, #self.servers do
    local list = self.servers[i]:rested() and first or last
    list[#list + 1] = self.servers[i]
  end
  for i = 1, #last do
    first[#first + 1] = last[i]
  end
  return first
end

local function one_by_one(self, network, name, deadline)
  local ips, err
  for _, one in ipairs(in_order(self)) do
    ips, err = ask_families(self, one, network, name, deadline)
    if ips and #ips > 0 then
      return ips
    end
    say_skipped(self, one, name, err)
  end
  return ips, err
end

-- All at once; the first that knows an address wins.
local function side_by_side(self, network, name, deadline)
  local waiter, missing, last = task.waiter(), #self.servers, nil
  for i, one in ipairs(self.servers) do
    task.spawn(function()
      local ips, err = ask_families(self, one, network, name, deadline)
      say_skipped(self, one, name, err)
      missing = missing - 1
      if i == #self.servers then
        last = { ips, err }
      end
      if ips and #ips > 0 then
        waiter:wake(ips)
      elseif missing == 0 then
        waiter:wake(last[1], last[2])
      end
    end)
  end
  return waiter:wait(deadline)
end

--- Find the addresses of a name.
-- @param network "ip", "ip4" or "ip6"
-- @param deadline ms on the loop's clock, or nil
-- @return list of IPs, empty when nobody knows one | nil, err
function methods:resolve(_, network, host, deadline)
  if addr.is_ip(host) then
    return { host }
  elseif #self.servers == 0 then
    return {}
  end
  local name = host:lower():gsub("%.$", "")
  local ips, err
  if self.parallel and #self.servers > 1 then
    ips, err = side_by_side(self, network, name, deadline)
  else
    ips, err = one_by_one(self, network, name, deadline)
  end
  if not ips and err.code ~= "timeout" and err.code ~= "resolve" then
    err = failure.new("resolve", nil, { op = "resolve", addr = host, cause = err })
  end
  return ips, err
end

--- Close the connections to the servers.
function methods:close()
  for _, one in ipairs(self.servers) do
    one:close()
  end
end

--- A resolver of a script: `resolve(ctx, network, host, deadline)` → an IP or a list of them | nil, reason.
function M.scripted(given)
  local own = given.resolve
  function given.resolve(self, ctx, network, host, deadline)
    local value, err = own(self, ctx, network, host, deadline)
    if value == nil and err ~= nil then
      return nil, failure.is(err) and err or failure.new("resolve", tostring(err), { addr = host })
    end
    local ips = {}
    for _, ip in ipairs(type(value) == "table" and value or { value }) do
      if type(ip) == "string" and addr.is_ip(ip) then
        ips[#ips + 1] = ip
      end
    end
    return ips
  end
  return given
end

--- @return the resolver that a service, hop or node names, or nil
function M.of(config, registry)
  return registry.resolvers[config.resolver or ""]
end

--- What a service asks for names it has to dial.
function M.attach(service, config)
  service.resolver = M.of(config, service.registry)
  return true
end

return M
