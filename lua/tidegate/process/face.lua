-- What the admin plane (API, metrics, REPL) may do with the process, in the control thread.
--
--   config()               the configuration in force, in gost's schema; not to be changed
--   marks(config)          what is known beside it: marks[service].status, marks[quota].status
--   change(edit), reload() → true | nil, problems
--   upgrade()              → the new process's id | nil, why not
--   drain(name, on)        → true | nil, problems; false: there is no such service
--   drained()              names of services that are drained → true
--   save(path, text)       → true | nil, err
--   file()                 the file that was read last, or nil
--   authenticate(settings, name, client, user, password) → whether they may
--   connections(filter, offset, limit, sort) → { total, items }  disconnect(sid) → whether there was one
--   figures()              see tidegate.process.figures; look() has them counted where there is no API
--   nodes()                see tidegate.process.nodes
--   profile(where, seconds, kind)  see tidegate.process.profiles
--   workers()              how many there are
--   ask(where, question, wait_ms) → the answers of workers | nil, why not

local addr = require "tidegate.net.addr"
local auth = require "tidegate.policy.auth"
local lazy = require "tidegate.lazy"
local evaluate = lazy "tidegate.admin.repl.evaluate"
local figures = lazy "tidegate.process.figures"
local keeper = lazy "tidegate.policy.quota.keeper"
local log = require "tidegate.process.log"
local message = require "tidegate.process.message"
local process = require "tidegate.native.process"
local profiles = require "tidegate.process.profiles"
local ranking = require "tidegate.process.ranking"
local registry = require "tidegate.process.registry"
local save = require "tidegate.admin.save"
local status = require "tidegate.process.status"
local task = require "tidegate.native.task"

local M = {}

local ANSWER_MS = 30000
local QUICK_MS = 5000 -- for questions that should take no time

-- The authers of the configuration, as this thread has them.
local function authers(state)
  if not state.authers or state.authers.config ~= state.running then
    local made, problems = registry.new({ authers = state.running.authers, log = state.running.log }, nil, state.data)
    if problems[1] then
      log.default():error(tostring(problems[1]))
      made:close()
      return nil
    end
    if state.authers then
      state.authers:close()
    end
    made.config = state.running
    state.authers = made
  end
  return state.authers.authers
end

local function authenticate(state, settings, name, client, user, password)
  local known = authers(state)
  if not known then
    return false
  end
  local ctx = { service = { name = name }, client = client, client_ip = addr.host(client) }
  local own = auth.of({ auth = settings.auth }, {})
  local named = auth.of({ auther = settings.auther, authers = settings.authers }, known)
  if not own and not named then
    return false
  end
  return own ~= nil and own:check(ctx, user, password) ~= nil
    or named ~= nil and named:check(ctx, user, password) ~= nil
end

local function quota_status(name)
  local one = keeper.status(name)
  return one and {
    used = one.used, limit = one.limit, startsAt = one.starts, expiresAt = one.expires, active = one.active,
    expired = one.expired or nil, blocked = one.blocked, direction = one.direction,
  }
end

local function marks(state, config)
  local found = {}
  for _, service in ipairs(config.services or {}) do
    found[service] = { status = status.read(service.name, service.quotas) }
    if state.drained[service.name] then
      found[service].status = { state = "closed", drained = true }
    end
  end
  for _, quota in ipairs(config.quotas or {}) do
    found[quota] = { status = quota_status(quota.name) }
  end
  return found
end

local function ask(where, question, wait_ms)
  local only = where ~= "all" and tonumber(where) or nil
  if where ~= "all" and not (only and only >= 1 and only <= process.workers()) then
    return nil, ("there is no worker %q; they are 1 to %d, all, and control"):format(
      tostring(where), process.workers())
  end
  local answers = message.call(question, task.now() + wait_ms, only)
  if not answers then
    return nil, "no answer in time"
  end
  return only and { answers[only] } or answers
end

-- One worker after the other: where the page begins in one depends on how many the others have.
local function connections(filter, offset, limit)
  local total, items = 0, {}
  for id = 1, process.workers() do
    local answers = message.call({
      type = "connections", filter = filter, skip = math.max(offset - total, 0), limit = limit - #items,
    }, task.now() + QUICK_MS, id)
    local answer = answers and answers[id] or { total = 0, items = {} }
    for _, item in ipairs(answer.items or {}) do
      item.worker = id
      items[#items + 1] = item
    end
    total = total + (answer.total or 0)
  end
  return { total = total, items = items }
end

-- In an order, the first ones of each worker are looked at.
local function sorted(filter, offset, limit, sort)
  local answers = message.call({
    type = "connections", filter = filter, sort = sort, limit = offset + limit,
  }, task.now() + QUICK_MS) or {}
  local total, items = 0, {}
  for id, answer in pairs(answers) do
    for _, item in ipairs(answer.items or {}) do
      item.worker = id
      items[#items + 1] = item
    end
    total = total + (answer.total or 0)
  end
  return { total = total, items = ranking.merge(sort, items, offset, limit) }
end

local function disconnect(sid)
  for _, answer in pairs(message.call({ type = "disconnect", sid = sid }, task.now() + QUICK_MS) or {}) do
    if answer.found then
      return true
    end
  end
  return false
end

--- @param host { state, change, reload, upgrade, drain } of tidegate.process.control
function M.new(host)
  local state = host.state
  return {
    config = function()
      return state.running
    end,
    marks = function(config)
      return marks(state, config)
    end,
    change = host.change,
    reload = host.reload,
    upgrade = host.upgrade,
    drain = function(name, on)
      for _, service in ipairs(state.running.services or {}) do
        if service.name == name then
          return host.drain(name, on)
        end
      end
      return false
    end,
    drained = function()
      return state.drained
    end,
    save = function(path, text)
      return save.write(path, text)
    end,
    file = function()
      return save.last_file(state.options.configs or {})
    end,
    folders = function()
      return save.folders(state.options.configs or {})
    end,
    authenticate = function(...)
      return authenticate(state, ...)
    end,
    address = function(name)
      return state.bound[name] and state.bound[name].address
    end,
    reset_quota = keeper.reset,
    connections = function(filter, offset, limit, sort)
      return (sort and sorted or connections)(filter, offset, limit, sort)
    end,
    look = function()
      return state.running.api or figures.want()
    end,
    figures = function()
      return figures.read(state)
    end,
    disconnect = disconnect,
    nodes = function()
      local answers = message.call({ type = "nodes" }, task.now() + QUICK_MS, 1)
      return answers and answers[1] or {}
    end,
    vitals = function()
      return {
        states = status.count_states(),
        workers = message.call({ type = "vitals" }, task.now() + QUICK_MS) or {},
      }
    end,
    profile = profiles.take,
    ask = ask,
    workers = process.workers,
    collect = function()
      local sizes = { control = evaluate.collect() }
      for id, answer in ipairs(message.call({ type = "gc" }, task.now() + ANSWER_MS) or {}) do
        sizes["worker " .. id] = answer
      end
      return sizes
    end,
  }
end

return M
