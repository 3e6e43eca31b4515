-- A worker: builds the services of a configuration, accepts on its share of the sockets, and swaps
-- one generation for the next without touching what already runs.

local components = require "tidegate.process.components"
local lazy = require "tidegate.lazy"
local evaluate = lazy "tidegate.admin.repl.evaluate"
local guard = require "tidegate.script.guard"
local listener = require "tidegate.native.listener"
local live = require "tidegate.process.live"
local log = require "tidegate.process.log"
local luv = require "luv"
local message = require "tidegate.process.message"
local metadata = require "tidegate.metadata"
local metrics = require "tidegate.process.metrics"
local nodes = require "tidegate.process.nodes"
local observer = require "tidegate.policy.observer"
local packet = require "tidegate.native.packet"
local process = require "tidegate.native.process"
local profile = require "tidegate.process.profile"
local quota = require "tidegate.policy.quota"
local queue = lazy "tidegate.policy.recorder.queue"
local record = require "tidegate.process.record"
local registry = require "tidegate.process.registry"
local relay = require "tidegate.native.relay"
local service = require "tidegate.process.service"
local serving = require "tidegate.process.serving"
local stats = require "tidegate.process.stats"
local task = require "tidegate.native.task"

local LAG_EVERY = 0.1 -- seconds
local LAST_WORDS_MS = 500
local FLUSH_MS = 400 -- for records; the control thread waits a second for all

local M = {}

local prepared = {} -- generation → { services = {name → service}, places }
local current -- the generation in force
local doors = {} -- socket key → { service, acceptor }: what accepts there

local function open_door(key, place, built)
  local door = { service = built, signature = place.signature }
  local fd = place.fds[process.id()]
  local err
  if built.listener.serve then
    door.acceptor, err = built:serve_socket(fd)
  elseif place.network == "none" then
    door.acceptor, err = built:serve_alone()
  else
    door.acceptor, err = listener.accept(fd, function(stream)
      quota.park(door)
      return door.service:serve(stream)
    end, function(shortage)
      message.send(0, { type = "accepting", service = door.service.name, ok = not shortage })
      if shortage then
        log.default():warn(("accepting pauses: %s; ulimit -n, LimitNOFILE of the unit, allow for more"):format(
          tostring(shortage)), { service = door.service.name })
      else
        log.default():info("accepting again", { service = door.service.name })
      end
    end)
  end
  if not door.acceptor then
    return nil, err
  end
  doors[key] = door
  return true
end

local function forget(generation)
  local one = prepared[generation]
  prepared[generation] = nil
  for _, built in pairs(one and one.services or {}) do
    built:close()
  end
end

-- Which servers of the admin plane a configuration asks for, on addresses of their own or as services.
local function admin_of(config)
  local found = { api = config.api ~= nil, metrics = config.metrics and { noClient = config.metrics.noClient } }
  for _, item in ipairs(config.services or {}) do
    local kind = item.handler and item.handler.type
    found.api = found.api or kind == "api"
    if kind == "metrics" then
      local md = metadata.parse({ noClient = { type = "bool" } }, item.handler.metadata)
      found.metrics = { noClient = found.metrics and found.metrics.noClient or md.noClient }
    end
  end
  return found
end

local function prepare(question)
  local built, problems = service.build_all(question.config, question.data)
  prepared[question.generation] = { services = built, places = question.places, log = question.config.log,
    admin = admin_of(question.config) }
  return { problems = problems }
end

-- Let a built service take its place.  One that is as it was keeps its old self, and with it
-- whatever that one holds: datagram sessions, pools, positions of selectors.
local function take_place(place, built, new, name)
  local door = doors[place.key]
  if door and door.signature == place.signature then
    built:close()
    new.services[name] = door.service
    return true
  end
  if door and (door.acceptor.adopt or place.network ~= "udp" and place.network ~= "none") then
    door.service:bequeath(built)
    door.service = built
    door.signature = place.signature
    if door.acceptor.adopt then
      door.acceptor:adopt(built)
    end
    return true
  end
  if door then
    door.acceptor:close()
    doors[place.key] = nil
  end
  return open_door(place.key, place, built)
end

-- Services of the old generation that are not in the new one as well.
local function close_old(old, new)
  local kept = {}
  for _, built in pairs(new.services) do
    kept[built] = true
  end
  for _, built in pairs(old and old.services or {}) do
    if not kept[built] then
      built:close()
    end
  end
end

local asked = false -- somebody wants figures, whether there is an API or not

-- Know connections, and count what services carry, if anybody will ask.
local function observe_all(admin, services)
  local on = admin.api or asked
  live.watch(on)
  record.want(on or admin.metrics ~= nil)
  for _, built in pairs(on and services or {}) do
    stats.count_service(built)
  end
end

local sampling = false

-- How late timers are is how long whoever becomes ready has to wait.
local function sample_lag()
  while metrics.on do
    local due = luv.hrtime() + LAG_EVERY * 1e9
    task.sleep(LAG_EVERY)
    metrics.lagged(process.id(), (luv.hrtime() - due) / 1e9)
  end
  sampling = false
end

-- From here on new connections meet the new services; old ones keep what they hold.
local function commit(question)
  local new, problems = prepared[question.generation], {}
  prepared[question.generation] = nil
  log.configure(new.log)
  metrics.configure(new.admin.metrics)
  guard.time(new.admin.metrics and metrics.hooked or nil)
  if new.admin.metrics and not sampling then
    sampling = true
    task.spawn(sample_lag)
  end
  local used = {}
  for name, built in pairs(new.services) do
    local place = new.places[name]
    used[place.key] = true
    local ok, err = take_place(place, built, new, name)
    if not ok then
      problems[#problems + 1] = ("service %s: %s"):format(name, tostring(err))
    end
  end
  for key, door in pairs(doors) do
    if not used[key] then
      door.acceptor:close(true)
      doors[key] = nil
    end
  end
  observe_all(new.admin, new.services)
  for _, built in pairs(new.services) do
    built:start_probes()
  end
  close_old(current, new)
  current = new
  for _, built in pairs(new.services) do
    built:begin()
  end
  return { problems = problems }
end

local function alive()
  return { alive = relay.count() + packet.count() + serving.live_count() }
end

-- Accept no more.  Of datagrams the socket is kept where a successor reads it: answers are still to go out.
local function drain(question)
  for key, door in pairs(doors) do
    if question.succeeded and door.acceptor.pause then
      door.acceptor:pause()
    else
      door.acceptor:close(true)
      doors[key] = nil
    end
    door.service:drain()
  end
  return alive()
end

-- Relays that were cut are over within a turn of the loop; then their last lines are written.
local function stop()
  relay.cut_all()
  packet.cut_all()
  local limit = task.now() + LAST_WORDS_MS
  repeat
    task.sleep(0.005)
  until relay.count() + packet.count() == 0 or task.now() > limit
  queue.flush_all(task.now() + FLUSH_MS)
  for _, built in pairs(current and current.services or {}) do
    built:close()
  end
  log.flush()
  return {}
end

-- The control thread has something for an observer.
local function observe(question)
  local _, any = next(current and current.services or {})
  local told, err = observer.tell(any and any.registry.observers, question.observer, question.events)
  return { told = told, err = err and tostring(err) }
end

-- What the admin plane asks: only where there is one, connections are known and counted.
local function serve_admin()
  message.handle("connections", function(question)
    if question.sort then
      return live.top(question.sort, question.filter, question.limit)
    end
    return live.list(question.filter, question.skip, question.limit)
  end)
  message.handle("look", function()
    if not asked then
      asked = true
      observe_all(current and current.admin or {}, current and current.services or {})
    end
    return {}
  end)
  message.handle("disconnect", function(question)
    return { found = live.cut(question.sid) }
  end)
  message.handle("nodes", function()
    local _, any = next(current and current.services or {})
    return nodes.list(any and any.registry, current and current.services or {})
  end)
  message.handle("vitals", function()
    local spliced, copied = relay.stats()
    local free, lent, pipes = relay.pools()
    return {
      memory = collectgarbage "count" * 1024, relays = relay.count(), sessions = packet.count(),
      handlers = serving.live_count(), tasks = task.count(), spliced = spliced, copied = copied,
      pool_free = free, pool_lent = lent, pipes = pipes,
    }
  end)
  message.handle("profile", function(question)
    local counts, err = profile.run(question.seconds, question.kind)
    return { counts = counts, err = err }
  end)
  message.handle("listen", function(question)
    live.listen(question.on)
    log.tap(question.on and function(level, line)
      live.happened("log", { level = level, line = line })
    end or nil)
    return {}
  end)
end

-- What people ask for through the REPL.
local function serve_repl()
  evaluate.provide("services", function()
    return current and current.services
  end)
  evaluate.provide("registry", function()
    local _, built = next(current and current.services or {})
    return built and built.registry
  end)
  evaluate.provide("tg", function()
    return require("tidegate.script").face()
  end)
  message.handle("eval", function(question)
    return evaluate.run(question.text, { wait = question.wait })
  end)
  message.handle("complete", function(question)
    local word, list = evaluate.complete(question.text)
    return { word = word, list = list }
  end)
  message.handle("gc", function()
    return evaluate.collect()
  end)
end

--- The worker's first task.
function M.main()
  components.use_embedded()
  process.on_uncaught(function(traceback)
    log.default():error(traceback, { "kind", "process" })
  end)
  guard.watch(log.default)
  relay.on_end(serving.relay_ended)
  packet.on_end(serving.relay_ended)
  message.handle("prepare", prepare)
  message.handle("commit", commit)
  message.handle("forget", function(question)
    forget(question.generation)
    return {}
  end)
  message.handle("load", function(question)
    registry.load(question.key, question.data)
    return {}
  end)
  message.handle("observe", observe)
  message.handle("drain", drain)
  message.handle("alive", alive)
  message.handle("stop", stop)
  serve_repl()
  serve_admin()
  message.open()
end

return M
