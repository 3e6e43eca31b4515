-- What is counted for Prometheus: counters that all threads share.  Workers raise them, the control thread
-- reads them (tidegate.metrics.text).  Nothing is counted before a configuration asks for metrics.
--
-- A series appears with its first use: its key goes into one shared dictionary, and who reads finds it there.

local addr = require "tidegate.net.addr"
local keys = require "tidegate.policy.limit.keys"
local luv = require "luv"
local meter = require "tidegate.native.meter"
local record = require "tidegate.process.record"
local shared = require "tidegate.native.shared"

local M = {}

--- Whether anything is counted.
M.on = false

--- Upper bounds of histograms, in seconds.
M.REQUEST_BOUNDS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60 }
M.CONNECT_BOUNDS = { 0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 5, 10, 15, 30, 60 }
M.LAG_BOUNDS = { 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2 }

local CLIENTS_MAX = 10000 -- label values of one service; others are counted together
local OTHERS = "other"

local HARMLESS = { eof = true, closed = true, canceled = true, timeout = true, blocked = true, limit = true }

local without_clients = false
local found = {} -- kind → first label → second label → series

--- The keys of all series: "kind\0label\0label".
function M.series()
  return shared.dict "metrics/series"
end

-- Histograms --------------------------------------------------------------------------------------

--- The counters of a histogram: one for each bound, one beyond, and the sum in microseconds.
function M.histogram(name, bounds)
  local out = { bounds = bounds }
  for i = 1, #bounds + 1 do
    out[i] = shared.counter(("%s/%d"):format(name, i))
  end
  out.sum = shared.counter(name .. "/sum")
  return out
end

local function observe(histogram, seconds)
  local bounds, at = histogram.bounds, 1
  while bounds[at] and seconds > bounds[at] do
    at = at + 1
  end
  histogram[at]:add(1)
  histogram.sum:add(math.floor(seconds * 1e6 + 0.5))
end

-- Series ------------------------------------------------------------------------------------------

--- What a kind of series consists of: function(name of its counters) → table.
M.KINDS = {
  client = function(name)
    return {
      requests = shared.counter(name .. "/requests"),
      in_flight = shared.counter(name .. "/in_flight"),
      input = shared.counter(name .. "/input"),
      output = shared.counter(name .. "/output"),
      errors = shared.counter(name .. "/errors"),
    }
  end,
  service = function(name)
    return { duration = M.histogram(name, M.REQUEST_BOUNDS) }
  end,
  node = function(name)
    return { errors = shared.counter(name .. "/errors"), duration = M.histogram(name, M.CONNECT_BOUNDS) }
  end,
  recorder = function(name)
    return { records = shared.counter(name) }
  end,
  hook = function(name)
    return { calls = shared.counter(name .. "/calls"), time = shared.counter(name .. "/time") }
  end,
  worker = function(name)
    return { lag = M.histogram(name, M.LAG_BOUNDS) }
  end,
}

--- The name of one plain counter of a series.
function M.counter_name(kind, field, a, b)
  local name = keys.name("metrics/" .. kind, a, b)
  return kind == "recorder" and name or name .. "/" .. field
end

--- The counters of a series.
function M.counters(kind, a, b)
  return M.KINDS[kind](keys.name("metrics/" .. kind, a, b))
end

local function series(kind, a, b)
  local by_kind = found[kind]
  if not by_kind then
    by_kind = {}
    found[kind] = by_kind
  end
  local by_first = by_kind[a]
  if not by_first then
    by_first = { count = 0, of = {} }
    by_kind[a] = by_first
  end
  local one = by_first.of[b]
  if not one then
    if kind == "client" and by_first.count >= CLIENTS_MAX and b ~= OTHERS then
      return series(kind, a, OTHERS)
    end
    one = M.counters(kind, a, b)
    by_first.of[b] = one
    by_first.count = by_first.count + 1
    M.series():set(("%s\0%s\0%s"):format(kind, a, b), true)
  end
  return one
end

-- Counting ----------------------------------------------------------------------------------------

local function of_client(ctx)
  return series("client", ctx.service.name, without_clients and "" or addr.host(ctx.client) or "")
end

--- A connection was accepted and admitted: count its bytes, below the listener's protocol.
function M.carried(ctx)
  local one = of_client(ctx)
  if not one.meter then
    one.meter = meter.new():count(one.input, "in"):count(one.output, "out")
  end
  ctx:add_meter(one.meter)
end

--- A handler begins.
function M.began(ctx)
  local one = of_client(ctx)
  one.requests:add(1)
  local stream = ctx.stream
  if stream and stream.hold then
    stream:hold(one.in_flight)
  end
end

--- A handler ended with an error.
function M.failed(ctx, err)
  if not HARMLESS[err.code] then
    of_client(ctx).errors:add(1)
  end
end

record.on_end(function(ctx, result)
  if M.on and rawget(ctx, "handled") then
    observe(series("service", ctx.service.name, "").duration, result.duration)
  end
end)

local function first_of(path)
  return path[1] and path[1].name or ""
end

--- A route through a chain could not be set up.
function M.chain_failed(path)
  series("node", path.chain or "", first_of(path)).errors:add(1)
end

--- The first node of a route was dialed and has shaken hands.
-- @param began by luv.hrtime()
function M.connected(path, began)
  observe(series("node", path.chain or "", first_of(path)).duration, (luv.hrtime() - began) / 1e9)
end

--- A record was handed to a recorder.
function M.recorded(name)
  series("recorder", name, "").records:add(1)
end

--- A function of a script has run.
function M.hooked(what, nanoseconds)
  local one = series("hook", what, "")
  one.calls:add(1)
  one.time:add(math.floor(nanoseconds / 1000 + 0.5))
end

--- How much later than planned a worker got round to something.
function M.lagged(worker, seconds)
  observe(series("worker", tostring(worker), "").lag, math.max(seconds, 0))
end

--- Count from now on, or no more.
-- @param settings nil or { noClient }
function M.configure(settings)
  M.on = settings ~= nil
  record.count = settings and M.recorded or function() end
  without_clients = settings ~= nil and settings.noClient or false
end

return M
