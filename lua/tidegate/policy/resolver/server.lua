-- One name server of a resolver: its settings, and whether it answers at all.

local addr = require "tidegate.net.addr"
local address = require "tidegate.net.dns.address"
local lazy = require "tidegate.lazy"
local dns = lazy "tidegate.net.dns"
local failure = require "tidegate.failure"
local health = require "tidegate.process.health"
local resolve = require "tidegate.net.resolve"
local task = require "tidegate.native.task"

local REST_MS = 10000 -- a server that failed is asked last for so long
local EMPTY_TTL = 60 -- seconds an answer without records is good for

local M = {}
local methods = {}
local mt = { __name = "tidegate.resolver.server", __index = methods }

local FAMILIES = { ip4 = "A", ipv4 = "A", ip6 = "AAAA", ipv6 = "AAAA" }
local V4, V6 = { "A" }, { "AAAA" }
local V4_FIRST, V6_FIRST = { "A", "AAAA" }, { "AAAA", "A" }
local PINNED = { A = V4, AAAA = V6 }

local function tell_about(at, log)
  if at.unknown then
    log:warn(("nameserver %s: %s:// is unknown, it is asked by UDP"):format(at.text, at.unknown))
  elseif at.transport == "tls" and at.guessed then
    log:info(("nameserver %s: no port was given, 853 is used"):format(at.text))
  end
end

-- @return address, of the client's subnet (bytes) or nil | nil, err
local function read(config)
  local at, err = address.parse(config.addr)
  if not at then
    return nil, err
  elseif at.transport == address.SYSTEM or not config.clientIP or config.clientIP == "" then
    return at
  end
  local subnet = addr.bytes(config.clientIP)
  if not subnet then
    return nil, failure.new("config", ("clientIP %q is no IP address"):format(config.clientIP))
  end
  return at, subnet
end

--- Say what is odd about a nameserver of the configuration.
-- @return true | nil, err
function M.tell(config, log)
  local at, err = read(config)
  if not at then
    return nil, err
  end
  tell_about(at, log)
  return true
end

--- Read a nameserver of the configuration.
-- @param env { registry, log }
-- @param owner name of its resolver
-- @return server | nil, err
function M.new(config, env, owner)
  local at, subnet = read(config)
  if not at then
    return nil, subnet
  end
  local self = setmetatable({
    name = at.text,
    health = health.new(("nameserver/%s/%s"):format(owner or "", at.text), "nameserver " .. at.text, env.log),
    only = FAMILIES[(config.only or ""):lower()],
    order = (config.prefer or ""):lower() == "ipv6" and V6_FIRST or V4_FIRST,
    ttl = config.ttl or 0,
    async = config.async and (config.ttl or 0) >= 0,
    rest_until = 0,
  }, mt)
  if at.transport == address.SYSTEM then
    self.system, self.timeout = true, config.timeout
    return self
  end
  self.subnet = subnet
  local err
  self.server, err = dns.open {
    addr = config.addr, timeout = config.timeout, hostname = config.hostname, chain = config.chain,
    tls = config.tls, registry = env.registry,
  }
  if not self.server then
    return nil, err
  end
  return self
end

--- @param network "ip", "ip4" or "ip6"
-- @return the types of records to ask for, in order, until there is one
function methods:types(network)
  return PINNED[self.only or FAMILIES[network]] or self.order
end

--- @return whether it is worth asking before others; the one who is told so after a rest finds out
function methods:rested()
  if not self.failing then
    return true
  end
  local now = task.now()
  if now < self.rest_until then
    return false
  end
  self.rest_until = now + REST_MS
  return true
end

-- One line when it stops answering, one when it works again, whichever worker sees it first.
-- @param err a failure, or nil when it has answered
function methods:note(err)
  if err then
    self.rest_until = task.now() + REST_MS
    self.failing = true
    self.health:bad(err.cause or err, "others are asked first until it answers")
  else
    self.failing = nil
    self.health:good()
  end
end

-- The system does not say for how long its answers are good.
local function ask_system(self, name, record_type)
  local deadline = self.timeout and self.timeout > 0 and task.now() + self.timeout * 1000 or nil
  local found, err = resolve.lookup(name, deadline)
  if not found then
    return nil, err
  end
  local ips, family = {}, record_type == "A" and 4 or 6
  for i = 1, #found do
    if addr.family(found[i]) == family then
      ips[#ips + 1] = found[i]
    end
  end
  return { ips = ips, ttl = self.ttl > 0 and self.ttl or nil }
end

local function refusal(answer, name)
  return failure.new("resolve", ("DNS %s for %s."):format(answer.rcode, name), { rcode = answer.rcode })
end

local function positive_ttl(self, answer)
  return self.ttl > 0 and self.ttl or dns.ttl(answer) or nil
end

--- Ask it.
-- @param negative seconds a negative answer is kept at most; 0: as long as gost does
-- @return { ips, ttl = seconds it may be kept, nil: not at all, err = instead of ips } | nil, err
function methods:ask(name, record_type, negative)
  if self.system then
    return ask_system(self, name, record_type)
  end
  local answer, err = self.server:query { name = name, type = record_type, subnet = self.subnet }
  self:note(err)
  if not answer then
    return nil, err
  end
  local found = { ips = dns.addresses(answer) }
  if answer.rcode ~= "NOERROR" then
    found.err = refusal(answer, name)
    if answer.rcode == "NXDOMAIN" and negative > 0 then
      found.ttl = math.min(dns.negative_ttl(answer) or EMPTY_TTL, negative)
    end
  elseif #answer.answers == 0 then
    found.ttl = self.ttl > 0 and self.ttl or EMPTY_TTL
    if negative > 0 then
      found.ttl = math.min(dns.negative_ttl(answer) or found.ttl, negative)
    end
  else
    found.ttl = positive_ttl(self, answer)
  end
  if self.ttl < 0 then
    found.ttl = nil
  end
  return found
end

--- Close the connections to it.
function methods:close()
  if self.server then
    self.server:close()
  end
end

return M
