-- What services and their clients have carried so far: counters that all threads share, fed by the
-- meters of accepted sockets, so that no Lua runs per byte.
--
-- A service counts when its metadata says `enableStats`, or when there is an API or somebody has asked for
-- figures; its clients (by the id they logged in with) when its handler names an observer.  Any thread can
-- read; the control thread keeps what it reads alive.

local keys = require "tidegate.policy.limit.keys"
local meter = require "tidegate.native.meter"
local shared = require "tidegate.native.shared"

local M = {}

--- What is counted.
M.NAMES = { "totalConns", "currentConns", "inputBytes", "outputBytes", "totalErrs" }

-- Handlers' errors that are no trouble of the service.
local HARMLESS = { eof = true, closed = true, canceled = true, timeout = true, blocked = true, limit = true }

--- The counters of a service, or of one client of its handler.
function M.counters(service, client)
  local out = {}
  for _, name in ipairs(M.NAMES) do
    out[name] = shared.counter(keys.name("stats/" .. name, service, client and "client/" .. client or ""))
  end
  return out
end

--- @return name → number
function M.read(counters)
  local out = {}
  for _, name in ipairs(M.NAMES) do
    out[name] = math.max(counters[name]:get(), 0)
  end
  return out
end

--- The clients of a service that have been seen: a shared dictionary, its keys are "c" and the id.
function M.clients(service)
  return shared.dict(keys.name("stats/clients", service, ""))
end

-- In workers --------------------------------------------------------------------------------------

local function bytes_meter(counters)
  return meter.new():count(counters.inputBytes, "in"):count(counters.outputBytes, "out")
end

--- Have a service count what it carries, from now on.
function M.count_service(service)
  if service.stats then
    return
  end
  service.stats = M.counters(service.name)
  service.stats_meter = bytes_meter(service.stats)
end

--- Have a service count what each client of its handler carries.
function M.count_clients(service)
  service.client_stats = setmetatable({}, { __mode = "v" }) -- id → counters, while somebody uses them
  service.known_clients = M.clients(service.name)
  service.late_meters = true
end

-- One more connection; it is over when the stream that has the meter closes.
local function place(counters)
  counters.totalConns:add(1)
  counters.currentConns:add(1)
  return meter.new():slot(counters.currentConns)
end

--- A connection was accepted.  Sessions of datagrams count bytes only.
function M.accepted(ctx)
  local service = ctx.service
  local counters = service.stats
  if not counters then
    return
  end
  ctx:add_meter(service.stats_meter)
  if ctx.stream.hold then
    counters.totalConns:add(1)
    ctx.stream:hold(counters.currentConns)
  end
end

--- A handler ended with an error.
function M.failed(service, err)
  if service.stats and not HARMLESS[err.code] then
    service.stats.totalErrs:add(1)
  end
end

--- A client is about to use what it logged in for.
function M.client(ctx)
  local service = ctx.service
  local all = service.client_stats
  if not all or ctx.counted then
    return
  end
  ctx.counted = true
  local id = type(ctx.user) == "string" and ctx.user or ""
  local counters = all[id]
  if not counters then
    counters = M.counters(service.name, id)
    all[id] = counters
  end
  service.known_clients:set("c" .. id, true)
  local one = place(counters)
  one:count(counters.inputBytes, "in"):count(counters.outputBytes, "out")
  ctx:add_meter(one)
  ctx:own(one)
end

return M
