-- The states of services and what is told to observers; lives in the control thread.
--
--   status.apply(config, places)   a configuration is in force
--   status.read(name)              what the API shows of a service, see also tidegate.process.stats

local health = require "tidegate.process.health"
local lazy = require "tidegate.lazy"
local keeper = lazy "tidegate.policy.quota.keeper"
local log = require "tidegate.process.log"
local message = require "tidegate.process.message"
local metadata = require "tidegate.metadata"
local observer = require "tidegate.policy.observer"
local signature = require "tidegate.process.signature"
local sorted = require "tidegate.sorted"
local stats = require "tidegate.process.stats"
local task = require "tidegate.native.task"

local M = {}

local EVENTS = 20 -- kept of a service
local OUTBOX = 100 -- states that may wait to be told
local ANSWER_MS = 30000
local FORGET_MS = 600000 -- clients that were not seen for so long
local LAST_MS = 1000
local TELLER = 1 -- the worker whose objects and scripts are asked

local services = {} -- name → what is known of it
local healths = {} -- observer → health
local outboxes = {} -- observer → events of states that wait for their turn
local telling = 0 -- outboxes that are being emptied

-- Telling ----------------------------------------------------------------------------------------

--- Have an observer told.  Replaced by specs.  @return true | nil, err
function M.tell(name, events)
  local answers = message.call({ type = "observe", observer = name, events = events }, task.now() + ANSWER_MS, TELLER)
  if not answers then
    return nil, "no answer in time"
  end
  local answer = answers[TELLER]
  return answer.told or nil, answer.err or answer.problems and answer.problems[1]
end

local function tell(name, events)
  local ok, err = M.tell(name, events)
  healths[name] = healths[name] or health.new("observer/" .. name, "observer " .. name, log.default())
  if ok then
    healths[name]:good()
  else
    healths[name]:bad(err, "statistics are sent again later")
  end
  return ok
end

-- States -----------------------------------------------------------------------------------------

local function note(one, text)
  local events = one.events
  events[#events + 1] = { time = os.time(), msg = text }
  if #events > EVENTS then
    table.remove(events, 1)
  end
end

-- One after the other, so that an observer hears of states in their order; nothing is told twice.
local function empty_outbox(name)
  local box = outboxes[name]
  while box[1] do
    pcall(tell, name, { table.remove(box, 1) })
  end
  outboxes[name] = nil
  telling = telling - 1
end

local function tell_state(name, event)
  local box = outboxes[name]
  if box then
    box[#box + 1] = #box < OUTBOX and event or nil
    return
  end
  outboxes[name] = { event }
  telling = telling + 1
  task.spawn(empty_outbox, name)
end

local listeners = {}

--- Have a function hear of states: fn(service, state, text).
function M.on_state(fn)
  listeners[#listeners + 1] = fn
end

local function set_state(one, state)
  one.state = state
  local text = ("service %s is %s"):format(one.name, state)
  note(one, text)
  for i = 1, #listeners do
    listeners[i](one.name, state, text)
  end
  if one.observer then
    tell_state(one.observer, {
      kind = "service", service = one.name, type = "status", status = { state = state, msg = text },
    })
  end
end

--- A worker's listener has trouble accepting, or has none any more.
function M.accepting(name, worker, ok)
  local one = services[name]
  if not one then
    return
  end
  one.troubled[worker] = not ok or nil
  local state = next(one.troubled) and "failed" or "ready"
  if state ~= one.state then
    set_state(one, state)
  end
end

-- Statistics -------------------------------------------------------------------------------------

local function differ(a, b)
  for _, name in ipairs(stats.NAMES) do
    if a[name] ~= (b and b[name] or 0) then
      return true
    end
  end
  return false
end

-- What an event says: all, or with resetTraffic the bytes since the last one.
local function shown(now, before, resets)
  local out = {}
  for _, name in ipairs(stats.NAMES) do
    out[name] = now[name]
  end
  if resets and before then
    out.inputBytes, out.outputBytes = now.inputBytes - before.inputBytes, now.outputBytes - before.outputBytes
  end
  return out
end

-- An event of what has changed since the last one that arrived, or nil.
local function event_of(watch, source, fields)
  local now = stats.read(source.counters)
  if not differ(now, source.told) then
    return nil
  end
  source.sent = now
  fields.type, fields.stats = "stats", shown(now, source.told, watch.resets)
  return fields
end

local function arrived(batch)
  for _, item in ipairs(batch) do
    item.source.told = item.source.sent
  end
end

-- One tick.  What did not arrive is sent again before anything new is counted.
local function tick(watch)
  if not watch.batch then
    local batch = watch.gather(watch)
    watch.batch = #batch > 0 and batch or nil
  end
  if watch.batch then
    local events = {}
    for i, item in ipairs(watch.batch) do
      events[i] = item.event
    end
    if tell(watch.observer, events) then
      arrived(watch.batch)
      watch.batch = nil
    end
  end
end

local function gather_service(watch)
  local event = event_of(watch, watch.source, { kind = "service", service = watch.service })
  return event and { { event = event, source = watch.source } } or {}
end

-- Those that have not been heard of for long are forgotten.
local function forget_absent(watch, id, client)
  if client.told and client.told.currentConns == 0 and task.now() - client.seen > FORGET_MS then
    watch.known:delete("c" .. id)
    watch.clients[id] = nil
  end
end

local function gather_clients(watch)
  local batch = {}
  for _, key in ipairs(watch.known:keys(65536)) do
    local id = key:sub(2)
    local client = watch.clients[id]
    if not client then
      client = { counters = stats.counters(watch.service, id), seen = task.now() }
      watch.clients[id] = client
    end
    local event = event_of(watch, client, { kind = "handler", service = watch.service, client = id })
    if event then
      client.seen = task.now()
      batch[#batch + 1] = { event = event, source = client }
    else
      forget_absent(watch, id, client)
    end
  end
  return batch
end

local function run(watch)
  while not watch.over do
    watch.alarm:wait(task.now() + watch.period * 1000)
    if not watch.over then
      tick(watch)
    end
  end
end

local function start(watch)
  watch.alarm = task.waiter()
  task.spawn(run, watch)
  return watch
end

local function stop(watches)
  for _, watch in ipairs(watches) do
    watch.over = true
    watch.alarm:wake()
  end
end

local function named(name)
  return name and name ~= "" and name or nil
end

local function watches_of(one, config)
  local list = {}
  local md = metadata.parse(observer.METADATA, config.metadata)
  if one.counters and one.observer then
    list[1] = start {
      service = one.name,
      observer = one.observer,
      period = math.max(md["observer.period"], 1),
      resets = md["observer.resetTraffic"],
      source = { counters = one.counters },
      gather = gather_service,
    }
  end
  local handler = config.handler or {}
  if named(handler.observer) then
    md = metadata.parse(observer.HANDLER_METADATA, handler.metadata)
    list[#list + 1] = start {
      service = one.name,
      observer = handler.observer,
      period = math.max(md["observer.period"], 1),
      resets = md["observer.resetTraffic"],
      clients = {},
      known = stats.clients(one.name),
      gather = gather_clients,
    }
  end
  return list
end

-- Configurations ---------------------------------------------------------------------------------

local function begin(config, address)
  local one = {
    name = config.name,
    signature = signature.of(config),
    created = os.time(),
    events = {},
    troubled = {},
    observer = named(config.observer),
  }
  if metadata.parse(observer.METADATA, config.metadata).enableStats then
    one.counters = stats.counters(one.name)
  end
  one.watches = watches_of(one, config)
  set_state(one, "running")
  set_state(one, "ready")
  note(one, ("service %s is listening on %s"):format(one.name, address))
  return one
end

--- A configuration is in force.
-- @param places name → { address, network }
function M.apply(config, places)
  local new = {}
  for _, service in ipairs(config.services or {}) do
    local old = services[service.name]
    if old and old.signature == signature.of(service) then
      new[service.name] = old
    else
      local place = places[service.name] or {}
      new[service.name] = begin(service, place.address or service.addr or "")
    end
  end
  for name, one in pairs(services) do
    if new[name] ~= one then
      stop(one.watches)
      if not new[name] then
        set_state(one, "closed")
      end
    end
  end
  services = new
end

--- The process ends: tell so, for at most a second.
function M.close()
  for _, one in pairs(services) do
    stop(one.watches)
    set_state(one, "closed")
  end
  services = {}
  local limit = task.now() + LAST_MS
  while telling > 0 and task.now() < limit do
    task.sleep(0.01)
  end
end

-- What the API shows of the quotas a service names; whether one of them stops it now.
local function quotas_of(names)
  local list, stopped = {}, nil
  for _, name in ipairs(names or {}) do
    local one = keeper.status(name)
    if one then
      list[#list + 1] = {
        name = name,
        used = one.used,
        limit = one.limit,
        startsAt = one.starts,
        expiresAt = one.expires,
        expired = one.expired or nil,
        active = one.active,
        blocked = one.blocked,
        direction = one.direction,
      }
      stopped = stopped or one.blocked or nil
    end
  end
  return list[1] and list or nil, stopped
end

--- What the API shows of a service: createTime and times of events are Unix seconds; `stats` only if it
-- counts, `quotas` and `stoppedByLimit` only if there are such.
-- @param quotas nil or the names of its quotas
-- @return table | nil: there is no such service
function M.read(name, quotas)
  local one = services[name]
  if not one then
    return nil
  end
  local events = {}
  for i, event in ipairs(one.events) do
    events[i] = { time = event.time, msg = event.msg }
  end
  local list, stopped = quotas_of(quotas)
  return {
    createTime = one.created,
    state = one.state,
    events = events,
    stats = one.counters and stats.read(one.counters) or nil,
    stoppedByLimit = stopped,
    quotas = list,
  }
end

--- @return state → number of services that are in it
function M.count_states()
  local counts = { running = 0, ready = 0, failed = 0, closed = 0 }
  for _, one in pairs(services) do
    counts[one.state] = (counts[one.state] or 0) + 1
  end
  return counts
end

--- @return sorted names of the services that are known
function M.names()
  return sorted(services)
end

--- @return client id → what it has carried, of a service whose handler has an observer
function M.clients(name)
  local out = {}
  local one = services[name]
  for _, watch in ipairs(one and one.watches or {}) do
    for id, client in pairs(watch.clients or {}) do
      out[id] = stats.read(client.counters)
    end
  end
  return out
end

return M
