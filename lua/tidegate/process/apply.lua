-- A configuration put in force: sockets opened, built by every worker, committed by all or by none.

local commands = require "tidegate.process.commands"
local loaders = require "tidegate.process.loaders"
local log = require "tidegate.process.log"
local message = require "tidegate.process.message"
local signature = require "tidegate.process.signature"
local sockets = require "tidegate.process.sockets"
local status = require "tidegate.process.status"
local task = require "tidegate.native.task"

local M = {}

--- Workers that take longer to build a configuration are stuck.
M.ANSWER_MS = 30000

local function say(level, text, fields)
  log.default():log(level, text, fields)
end

local function release(keys)
  for _, key in ipairs(keys) do
    sockets.release(key)
  end
end

-- Sockets for every service of a configuration.
-- @return bound, fresh keys | nil, problems
local function bind_all(config)
  local bound, fresh, problems, taken = {}, {}, {}, {}
  for _, service in ipairs(config.services or {}) do
    local one, err = sockets.obtain(service)
    if one and taken[one.key] then
      one, err = nil, ("address %s is used by service %s already"):format(service.addr, taken[one.key])
    end
    if one then
      taken[one.key] = service.name
      bound[service.name] = one
      if one.fresh then
        fresh[#fresh + 1] = one.key
      end
    else
      problems[#problems + 1] = ("service %s: %s"):format(service.name, tostring(err))
    end
  end
  if #problems == 0 then
    return bound, fresh
  end
  release(fresh)
  return nil, problems
end

-- One call to all workers; whatever any of them finds wrong.
local function ask_workers(question)
  local answers, missing = message.call(question, task.now() + M.ANSWER_MS)
  if not answers then
    return { ("%d workers did not answer"):format(missing) }
  end
  local problems, seen = {}, {}
  for _, answer in ipairs(answers) do
    for _, text in ipairs(answer.problems or {}) do
      if not seen[text] then -- every worker finds the same
        seen[text] = true
        problems[#problems + 1] = text
      end
    end
  end
  return problems
end

local function announce(config, bound, old)
  for _, service in ipairs(config.services or {}) do
    local one = bound[service.name]
    if not (old and old[service.name] and old[service.name].key == one.key) then
      say("info", ("listening on %s/%s"):format(one.address, one.network), {
        "kind", "service", "service", service.name,
        "listener", service.listener and service.listener.type or "tcp",
        "handler", service.handler and service.handler.type or "auto",
      })
    end
  end
end

--- @return name → service of a configuration, which may be nil
function M.names_of(config)
  local names = {}
  for _, service in ipairs(config and config.services or {}) do
    names[service.name] = service
  end
  return names
end

--- Run the commands of those services that are not among others as well.
-- @param stage preUp, postUp, preDown or postDown
function M.run_commands(services, others, stage)
  for name, service in pairs(services) do
    if not others[name] then
      commands.run(service, stage)
    end
  end
end

-- A configuration without the services that are drained.
local function without_drained(config, drained)
  local out, services = {}, {}
  for key, value in pairs(config) do
    out[key] = value
  end
  for _, service in ipairs(config.services or {}) do
    services[#services + 1] = not drained[service.name] and service or nil
  end
  out.services = services
  return out
end

-- The sockets of a configuration, or what keeps them from being had.
-- @param problems list to add to
-- @return bound, fresh keys
local function try_to_bind(config, problems)
  local bound, fresh = bind_all(config)
  if bound then
    return bound, fresh
  end
  for _, text in ipairs(fresh) do
    problems[#problems + 1] = text
  end
  return {}, {}
end

-- @return true | nil, a list of problems
local function try_to_apply(state, whole)
  local config = next(state.drained) and without_drained(whole, state.drained) or whole
  local data, problems = loaders.ready(config)
  problems = problems or {}
  local bound, fresh = try_to_bind(config, problems)
  if not data then -- without what is missing the workers would find more amiss than there is
    release(fresh)
    return nil, problems
  end
  state.generation = state.generation + 1
  local places, signatures = {}, signature.of_services(config)
  for name, one in pairs(bound) do
    places[name] = {
      key = one.key, fds = one.fds, network = one.network, address = one.address,
      signature = signatures[name],
    }
  end
  for _, text in ipairs(ask_workers {
    type = "prepare", generation = state.generation, config = config, places = places, data = data,
  }) do
    problems[#problems + 1] = text
  end
  if #problems > 0 then
    ask_workers { type = "forget", generation = state.generation }
    release(fresh)
    return nil, problems
  end

  local old, new = M.names_of(state.applied), M.names_of(config)
  M.run_commands(new, old, "preUp")
  M.run_commands(old, new, "preDown")
  if state.ending then -- the workers must open nothing any more
    return nil, { "the process is ending" }
  end
  problems = ask_workers { type = "commit", generation = state.generation }
  for _, text in ipairs(problems) do
    say("error", text)
  end
  log.configure(config.log)
  local used = {}
  for _, one in pairs(bound) do
    used[one.key] = true
  end
  for _, key in ipairs(sockets.keys()) do
    if not used[key] then
      sockets.release(key)
    end
  end
  announce(config, bound, state.bound)
  state.running, state.applied, state.bound, state.data = whole, config, bound, data
  status.apply(config, bound)
  local named = M.names_of(whole)
  for name in pairs(state.drained) do
    state.drained[name] = named[name] and true -- one that comes anew is not drained
  end
  M.run_commands(new, old, "postUp")
  M.run_commands(old, new, "postDown")
  return true
end

--- Put a configuration in force: all of it, or nothing.
-- @param state of tidegate.process.control
-- @return true | nil, a list of problems
function M.apply(state, config)
  local whole, ok, problems = xpcall(try_to_apply, debug.traceback, state, config)
  loaders.settle(state.running)
  if not whole then
    return nil, { ok }
  end
  return ok, problems
end

return M
