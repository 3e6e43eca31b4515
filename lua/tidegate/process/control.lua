-- The control thread: reads the configuration, opens the sockets, has the workers apply it, reloads,
-- drains, and ends the process.  It carries no traffic.

local admin = require "tidegate.admin.server"
local cli = require "tidegate.cli"
local commands = require "tidegate.process.commands"
local components = require "tidegate.process.components"
local declare = require "tidegate.script.declare"
local events = require "tidegate.admin.events"
local lazy = require "tidegate.lazy"
local face = require "tidegate.process.face"
local loaders = require "tidegate.process.loaders"
local log = require "tidegate.process.log"
local message = require "tidegate.process.message"
local passed_on = require "tidegate.admin.passed_on"
local place = require "tidegate.admin.repl.place"
local process = require "tidegate.native.process"
local profile = require "tidegate.process.profile"
local registry = require "tidegate.process.registry"
local repl = lazy "tidegate.admin.repl.server"
local script = require "tidegate.script"
local signature = require "tidegate.process.signature"
local sockets = require "tidegate.process.sockets"
local source = require "tidegate.config.source"
local status = require "tidegate.process.status"
local systemd = require "tidegate.process.systemd"
local task = require "tidegate.native.task"
local upgrade = require "tidegate.process.upgrade"
local uv = require "luv"
local watchdog = require "tidegate.native.watchdog"

local M = {}

local TURN = 0.005 -- seconds between two looks at whether the configuration may be changed
local WATCH_EVERY = 0.1 -- seconds between two looks at whether the workers get on
local BUSY_MS = 200 -- a turn this long is reported
local STOP_MS = 2000 -- and the script that is to blame for one this long is stopped

local ANSWER_MS = 30000 -- workers that take longer to build a configuration are stuck

local state = {
  running = nil, -- the configuration in force
  applied = nil, -- the same without services that are drained
  drained = {}, -- names of services that accept nothing for now
  data = {}, -- what was loaded for its policies
  bound = {}, -- service name → what sockets.obtain() gave
  generation = 0,
  options = nil,
  busy = false, -- applying a configuration
  again = false, -- a reload was asked for meanwhile
  ending = false,
  argv = {}, succeeded = false, -- how we were called; a new process has taken the sockets over
}

local function say(level, text, fields)
  log.default():log(level, text, fields)
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
  for _, key in ipairs(fresh) do
    sockets.release(key)
  end
  return nil, problems
end

-- One call to all workers; whatever any of them finds wrong.
local function ask_workers(question)
  local answers, missing = message.call(question, task.now() + ANSWER_MS)
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

local function names_of(config)
  local names = {}
  for _, service in ipairs(config and config.services or {}) do
    names[service.name] = service
  end
  return names
end

local function run_commands(services, others, stage)
  for name, service in pairs(services) do
    if not others[name] then
      commands.run(service, stage)
    end
  end
end

-- A configuration without the services that are drained.
local function without_drained(config)
  local out, services = {}, {}
  for key, value in pairs(config) do
    out[key] = value
  end
  for _, service in ipairs(config.services or {}) do
    services[#services + 1] = not state.drained[service.name] and service or nil
  end
  out.services = services
  return out
end

-- @return true | nil, a list of problems
local function try_to_apply(whole)
  local config = next(state.drained) and without_drained(whole) or whole
  local data, missing = loaders.ready(config)
  if not data then
    return nil, missing
  end
  local bound, fresh = bind_all(config)
  if not bound then
    return nil, fresh
  end
  state.generation = state.generation + 1
  local places, signatures = {}, signature.of_services(config)
  for name, one in pairs(bound) do
    places[name] = {
      key = one.key, fds = one.fds, network = one.network, address = one.address,
      signature = signatures[name],
    }
  end
  local problems = ask_workers {
    type = "prepare", generation = state.generation, config = config, places = places, data = data,
  }
  if #problems > 0 then
    ask_workers { type = "forget", generation = state.generation }
    for _, key in ipairs(fresh) do
      sockets.release(key)
    end
    return nil, problems
  end

  local old, new = names_of(state.applied), names_of(config)
  run_commands(new, old, "preUp")
  run_commands(old, new, "preDown")
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
  local named = names_of(whole)
  for name in pairs(state.drained) do
    state.drained[name] = named[name] and true -- one that comes anew is not drained
  end
  run_commands(new, old, "postUp")
  run_commands(old, new, "postDown")
  return true
end

--- Put a configuration in force: all of it, or nothing.
-- @return true | nil, a list of problems
local function apply(config)
  local whole, ok, problems = xpcall(try_to_apply, debug.traceback, config)
  loaders.settle(state.running)
  if not whole then
    return nil, { ok }
  end
  return ok, problems
end

local function rebuild()
  local config, problems = cli.build(state.options)
  if not config then
    return nil, problems
  end
  return apply(config)
end

local function reload_once(keeps_admin)
  systemd.notify "RELOADING=1"
  local whole, ok, problems = xpcall(rebuild, debug.traceback)
  if not whole then
    ok, problems = nil, { ok }
  end
  if ok then
    say("info", "configuration reloaded")
    for _, problem in ipairs(not keeps_admin and select(2, M.settle_admin()) or {}) do
      say("error", tostring(problem))
    end
  else
    for _, problem in ipairs(problems) do
      say("error", "reload: " .. tostring(problem))
    end
    say("error", "reload: the running configuration stays in force")
  end
  if not state.ending then
    systemd.notify "READY=1"
  end
  return ok, problems
end

--- Read the configuration again and apply what has changed.  Asked for while it is being done, it is
-- done once more afterwards.
-- @param from "api": its own servers are left as they are, or the answer would not arrive
-- @return true | nil, a list of problems
function M.reload(from)
  if state.busy or state.ending then
    state.again = true
    return nil, { "a reload is under way; another follows" }
  end
  state.busy = true
  local ok, problems
  repeat
    state.again = false
    ok, problems = reload_once(from == "api")
  until not state.again or state.ending
  state.busy = false
  return ok, problems
end

-- The admin plane --------------------------------------------------------------------------------

-- The configuration is free to be changed once nobody else is at it.
local function take_turn()
  while state.busy do
    task.sleep(TURN)
  end
  state.busy = true
end

--- What change() does while nobody else may.
function M.try_change(edit)
  local config = declare.copy(state.running)
  if edit(config) == false then
    return true
  end
  local found, problems = cli.check(config, script.defined)
  if not found then
    return nil, problems
  end
  return apply(found)
end

--- Run something while nobody else is at the configuration.
-- @return what fn(…) does: true | nil, a list of problems
function M.exclusive(fn, ...)
  take_turn()
  local ok, problems = nil, { "the process is ending" }
  if not state.ending then
    local whole
    whole, ok, problems = xpcall(fn, debug.traceback, ...)
    if not whole then
      ok, problems = nil, { ok }
    end
  end
  state.busy = false
  if state.again then
    state.again = false
    task.spawn(M.reload)
  end
  return ok, problems
end

--- Change the configuration in force; all of it takes effect, or nothing.
-- @param edit function(copy) → false to leave it as it is
-- @return true | nil, a list of problems
function M.change(edit)
  return M.exclusive(M.try_change, edit)
end

-- Leave a service out of what is in force, or take it in again.
local function set_drained(name, on)
  local before = state.drained[name]
  state.drained[name] = on or nil
  local ok, problems = apply(state.running)
  if not ok then
    state.drained[name] = before
  end
  return ok, problems
end

-- What the servers of the admin plane may do, see tidegate.process.face.
local plane = face.new {
  state = state,
  change = function(edit)
    return M.change(edit)
  end,
  drain = function(name, on)
    return M.exclusive(set_drained, name, on)
  end,
  reload = function()
    take_turn()
    state.busy = false
    return M.reload "api"
  end,
}

-- What there was to start cannot be.  @return exit code
local function give_up(problems)
  for _, problem in ipairs(problems) do
    io.stderr:write("tidegate: ", tostring(problem), "\n")
  end
  if state.repl then
    state.repl.close()
  end
  return 2
end

--- Have the servers of the admin plane follow the configuration.  @return true | nil, problems
function M.settle_admin()
  plane.log = log.default()
  return admin.settle(state.running, plane)
end

local function release_all()
  for _, key in ipairs(sockets.keys()) do
    sockets.release(key)
  end
end

local function finish(code)
  log.flush()
  admin.close()
  if state.repl then
    state.repl.close(state.succeeded and state.options.repl ~= nil)
  end
  release_all()
  process.exit(code)
end

-- Stop accepting, let what runs finish for a while, end.
local function drain(signal)
  if state.ending then
    return finish(0)
  end
  state.ending = true
  upgrade.cancel()
  local seconds = state.options.drain or 0
  local services = state.succeeded and {} or names_of(state.applied) -- a successor's services go on
  if not state.succeeded then
    systemd.notify "STOPPING=1"
  end
  run_commands(services, {}, "preDown")
  status.close()
  local deadline = task.now() + seconds * 1000
  local answers = message.call({ type = "drain" }, task.now() + ANSWER_MS) or {}
  release_all() -- refuse whoever comes now, rather than let them queue
  local alive = 0
  for _, answer in ipairs(answers) do
    alive = alive + answer.alive
  end
  if alive > 0 and seconds > 0 then
    say("info", ("%s: waiting up to %gs for %d connections to finish"):format(signal, seconds, alive))
    while alive > 0 and task.now() < deadline do
      task.sleep(0.05)
      alive = 0
      for _, answer in ipairs(message.call({ type = "alive" }, deadline) or {}) do
        alive = alive + answer.alive
      end
    end
  end
  if alive > 0 then
    say("info", ("closing %d connections"):format(alive))
  end
  message.call({ type = "stop" }, task.now() + 1000)
  loaders.settle() -- what policies keep is kept now
  run_commands(services, {}, "postDown")
  finish(0)
end

-- Start the executable again; once it serves on our sockets, end.
local function hand_over()
  if state.ending then
    return
  end
  say("info", "upgrade: starting a new process")
  local ok, problems = M.exclusive(upgrade.start, state.argv, admin.offers(sockets.offers()))
  if not ok then
    return say("error", ("upgrade: %s; this process goes on"):format(tostring(problems[1])))
  end
  sockets.hand_over()
  admin.hand_over()
  state.succeeded = true
  drain "upgrade"
end

local function on_signal(name, fn)
  local handle = uv.new_signal()
  handle:start(name, function()
    task.spawn(fn, name)
  end)
  handle:unref()
end

local function reload_every(seconds)
  while true do
    task.sleep(seconds)
    M.reload()
  end
end

-- Scripts that keep a worker busy are reported after a while, and stopped after a longer one.
local function watch_workers()
  while true do
    task.sleep(WATCH_EVERY)
    watchdog.check(BUSY_MS, STOP_MS)
  end
end

--- Start serving: called by the command line once it has a valid configuration.
-- @return exit code, when it did not come to that
local function run(config, options)
  state.options = options
  log.configure(config.log)
  process.on_uncaught(function(traceback)
    say("error", traceback, { "kind", "process" })
  end)
  message.handle("accepting", function(question, from)
    status.accepting(question.service, from, question.ok)
  end)
  profile.shield()
  events.open()
  passed_on.open(plane)
  message.open()
  if not process.start_workers(options.workers or process.cpus()) then
    return 1
  end
  loaders.on_data(function(key, data)
    registry.load(key, data)
    return message.call({ type = "load", key = key, data = data }, task.now() + ANSWER_MS) ~= nil
  end)
  on_signal("sighup", M.reload)
  on_signal("sigterm", drain)
  on_signal("sigint", drain)
  on_signal("sigusr2", hand_over)
  plane.log = log.default()
  -- before anything is said to listen: whoever waits for that finds all of it
  state.repl = repl.start(options.repl, plane, place.path(process.pid()))
  state.busy = true
  local ok, problems = apply(config)
  state.busy = false
  if ok then
    ok, problems = M.settle_admin()
  end
  if not ok then
    return give_up(problems)
  end
  if state.again then
    task.spawn(M.reload)
  end
  if options.reload and options.reload > 0 then
    task.spawn(reload_every, options.reload)
  end
  task.spawn(watch_workers)
  sockets.settle_inherited()
  systemd.notify "READY=1"
  return nil
end

-- Workers of gost's "--": each is this program again.  The first failure ends us with 1.
local function spawn_workers(list)
  local over = task.waiter()
  local left, failed = #list, false
  local executable = uv.exepath()
  for index, argv in ipairs(list) do
    local env = { "_GOST_ID=" .. (index - 1) }
    for name, value in pairs(uv.os_environ()) do
      if name ~= "_GOST_ID" then
        env[#env + 1] = name .. "=" .. value
      end
    end
    local handle, err = uv.spawn(executable, { args = argv, env = env, stdio = { nil, 1, 2 } }, function(code, signal)
      left = left - 1
      if code ~= 0 or signal ~= 0 then
        failed = true
        io.stderr:write(("tidegate: worker %d ended with %s\n"):format(
          index - 1, signal ~= 0 and "signal " .. signal or "exit status " .. code))
      end
      if failed or left == 0 then
        over:wake(true)
      end
    end)
    if not handle then
      io.stderr:write("tidegate: cannot start a worker: ", tostring(err), "\n")
      return 1
    end
  end
  over:wait()
  return failed and 1 or 0
end

local function write_to(fd)
  return function(text)
    process.write(fd, text)
  end
end

--- The process's first task.
function M.main(argv)
  state.argv = argv
  components.use_embedded()
  source.fetch = require("tidegate.config.fetch")
  local host = {
    run = run,
    spawn_workers = spawn_workers,
    stdout = write_to(1),
    stderr = write_to(2),
    environ = uv.os_environ,
    load_script = script.evaluate,
    scripted = script.defined,
    repl = function(options)
      return require("tidegate.admin.repl.client")[options.command](options, {
        stdout = write_to(1), stderr = write_to(2),
      })
    end,
    rocks_tree = function(dir)
      uv.os_setenv("TIDEGATE_ROCKS_TREE", dir)
    end,
    dev_lua = function(dir)
      uv.os_setenv("TIDEGATE_LUA_DIR", dir)
    end,
  }
  local ok, code = xpcall(cli.main, debug.traceback, argv, host)
  if not ok then
    io.stderr:write("tidegate: ", tostring(code), "\n")
    code = 1
  end
  if code then
    log.flush()
    process.exit(code)
  end
end

return M
