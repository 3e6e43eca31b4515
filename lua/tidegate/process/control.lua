-- The control thread: reads the configuration, opens the sockets, has the workers apply it, reloads,
-- drains, and ends the process.  It carries no traffic.

local admin = require "tidegate.admin.server"
local apply = require "tidegate.process.apply"
local cli = require "tidegate.cli"
local components = require "tidegate.process.components"
local declare = require "tidegate.script.declare"
local events = require "tidegate.admin.events"
local lazy = require "tidegate.lazy"
local face = require "tidegate.process.face"
local loaders = require "tidegate.process.loaders"
local log = require "tidegate.process.log"
local message = require "tidegate.process.message"
local parts = require "tidegate.process.parts"
local passed_on = require "tidegate.admin.passed_on"
local place = require "tidegate.admin.repl.place"
local process = require "tidegate.native.process"
local profile = require "tidegate.process.profile"
local registry = require "tidegate.process.registry"
local repl = lazy "tidegate.admin.repl.server"
local script = require "tidegate.script"
local service = require "tidegate.process.service"
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
local STOP_WAIT_MS = 1000 -- for workers to say and free what is left
local STOP_MS = 2000 -- and the script that is to blame for one this long is stopped


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

-- Reading the same again, as -R does, need not say the same again.
local function warn_once(problems)
  local texts = {}
  for i, problem in ipairs(problems) do
    texts[i] = tostring(problem)
  end
  local all = table.concat(texts, "\n")
  for _, text in ipairs(all ~= state.warned and texts or {}) do
    say("warn", "reload: " .. text)
  end
  state.warned = all
end

local function rebuild()
  local config, problems = cli.build(state.options)
  if not config then
    return nil, problems
  elseif cli.serves_nothing(config) and not cli.serves_nothing(state.running) then
    return nil, { "nothing would be served any more; a file that is empty may be half written" }
  end
  warn_once(problems)
  return apply.apply(state, config)
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
  return apply.apply(state, found)
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
  local ok, problems = apply.apply(state, state.running)
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
  upgrade = function()
    return M.upgrade()
  end,
}

-- Tell whoever started this process what is wrong; a process that it is to take the place of hears it too.
local function complain(text)
  process.write(2, text)
  systemd.complain(text)
end

-- What there was to start cannot be.  @return exit code
local function give_up(problems)
  for _, problem in ipairs(problems) do
    complain(("tidegate: %s\n"):format(tostring(problem)))
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

-- @param network nil for all of them
local function release_all(network)
  for _, key in ipairs(sockets.keys(network)) do
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
local function drain(signal, code)
  if state.ending then -- asked once more: now, but with what is to be said and freed; a third time: whatever happens
    if not state.hurried then
      state.hurried = true
      message.call({ type = "stop" }, task.now() + STOP_WAIT_MS)
    end
    return finish(code or 0)
  end
  state.ending = true
  upgrade.cancel()
  local seconds = code and 0 or state.options.drain or 0
  local services = state.succeeded and {} or apply.names_of(state.applied) -- a successor's services go on
  if not state.succeeded then
    systemd.notify "STOPPING=1"
  end
  apply.run_commands(services, {}, "preDown")
  status.close()
  local deadline = task.now() + seconds * 1000
  local answers = message.call({ type = "drain", succeeded = state.succeeded }, task.now() + apply.ANSWER_MS) or {}
  -- Refuse whoever comes now, rather than let them queue.  Where a successor serves, nobody is refused, and the
  -- answers to datagrams still go out by the socket.
  for _, network in ipairs(state.succeeded and { "tcp", "unix" } or { false }) do
    release_all(network or nil)
  end
  local alive = 0
  for _, answer in ipairs(answers) do
    alive = alive + answer.alive
  end
  if alive > 0 and seconds > 0 then
    say("info", ("%s: waiting up to %gs for %d connection%s to finish"):format(signal, seconds, alive,
      alive == 1 and "" or "s"))
    while alive > 0 and task.now() < deadline and not state.hurried do
      task.sleep(0.05)
      alive = 0
      for _, answer in ipairs(message.call({ type = "alive" }, deadline) or {}) do
        alive = alive + answer.alive
      end
    end
  end
  if state.hurried then
    return
  elseif alive > 0 then
    say("info", ("closing %d connection%s"):format(alive, alive == 1 and "" or "s"))
  end
  message.call({ type = "stop" }, task.now() + STOP_WAIT_MS)
  loaders.settle() -- what policies keep is kept now
  apply.run_commands(services, {}, "postDown")
  finish(code or 0)
end

-- The one connection that the process was there for is over.
local function finished(question)
  if not state.ending then
    drain("finished", question.code)
  end
end

--- Start the executable again; once it serves on our sockets, end.
-- @return the new process's id | nil, why not
function M.upgrade()
  if state.ending then
    return nil, "the process is ending"
  end
  say("info", "upgrade: starting a new process")
  local pid
  local ok, problems = M.exclusive(function()
    local err
    pid, err = upgrade.start(state.argv, admin.offers(sockets.offers()))
    return pid ~= nil, { err }
  end)
  if not ok then
    local why = tostring(problems[1])
    say("error", ("upgrade: %s; this process goes on"):format(why))
    return nil, why
  end
  sockets.hand_over()
  admin.hand_over()
  state.succeeded = true
  task.spawn(drain, "upgrade")
  return pid
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
  message.handle("finished", function(question)
    task.spawn(finished, question)
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
    return message.call({ type = "load", key = key, data = data }, task.now() + apply.ANSWER_MS) ~= nil
  end)
  on_signal("sighup", M.reload)
  on_signal("sigterm", drain)
  on_signal("sigint", drain)
  on_signal("sigusr2", M.upgrade)
  plane.log = log.default()
  -- before anything is said to listen: whoever waits for that finds all of it
  state.repl = repl.start(options.repl, plane, place.path(process.pid()))
  state.busy = true
  local ok, problems = apply.apply(state, config)
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

local function write_to(fd)
  return function(text)
    process.write(fd, text)
  end
end

-- What building its services finds: that two parts do not go together, that a method is unknown.  Scripts are
-- not run for it.
local function try(config)
  if config.scripts and config.scripts[1] then
    return {}
  end
  config.log = { level = "warn" } -- whatever it says: this is for who looks at the terminal
  local built, problems = service.build_all(config)
  for _, one in pairs(built) do
    one:close()
  end
  return problems
end

--- The process's first task.
function M.main(argv)
  state.argv = argv
  components.use_embedded()
  source.fetch = require("tidegate.config.fetch")
  local host = {
    run = run,
    try = try,
    spawn_workers = parts.run,
    stdout = write_to(1),
    stderr = complain,
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
