--- Runs steps as soon as what they need is done and there is room: one slot a processor.
local uv = require "luv"

local process = require "spec.runner.process"

local M = {}

local LOGS = "build/test-logs"

local function log_path(step)
  return LOGS .. "/" .. step.name:gsub("[^%w]+", "-") .. ".log"
end

local MIN_SLOTS, MAX_SLOTS = 2, 4 -- specs that measure time want company to stay modest

--- How many steps may run side by side.
function M.slots()
  local pipe = io.popen("nproc 2>/dev/null")
  local processors = tonumber(pipe:read("*l")) or MIN_SLOTS
  pipe:close()
  return math.min(MAX_SLOTS, math.max(MIN_SLOTS, processors))
end

-- "ready", "wait", or "lost" with the name of what failed
local function readiness(step, outcome)
  for _, need in ipairs(step.needs or {}) do
    if outcome[need] == false then
      return "lost", need
    elseif outcome[need] == nil then
      return "wait"
    end
  end
  return "ready"
end

--- Run all steps.
-- A step has: name, command, env, timeout, needs (names), weight (slots; math.huge: alone).
-- callbacks: on_done(step, result) returns whether it went well; result as in process.start, plus
-- log (path).  on_skip(step, reason) for what lost a need.
function M.run(steps, callbacks)
  assert(os.execute("mkdir -p " .. LOGS) == 0)
  local slots, used = M.slots(), 0
  local outcome, waiting, interrupted = {}, {}, false
  for i, step in ipairs(steps) do waiting[i] = step end

  local start_what_fits

  local function start(step, weight)
    used = used + weight
    local log = log_path(step)
    process.start({
      command = step.command, env = step.env, timeout = step.timeout, log = log,
      network = step.network,
    }, function(result)
      used = used - weight
      result.log = log
      if not interrupted then
        outcome[step.name] = callbacks.on_done(step, result)
        start_what_fits()
      end
    end)
  end

  function start_what_fits()
    local i = 1
    while i <= #waiting do
      local step = waiting[i]
      local state, reason = readiness(step, outcome)
      local weight = math.min(step.weight or 1, slots)
      if state == "lost" then
        table.remove(waiting, i)
        outcome[step.name] = false
        callbacks.on_skip(step, reason)
        i = 1 -- others may have needed it
      elseif state == "ready" and used + weight <= slots then
        table.remove(waiting, i)
        start(step, weight)
      else
        i = i + 1
      end
    end
  end

  local watchers = {}
  for _, name in ipairs { "sigint", "sigterm", "sighup" } do
    local watcher = uv.new_signal()
    watcher:start(name, function()
      interrupted, waiting = true, {}
      process.kill_all()
      callbacks.on_skip({ name = "the rest" }, name)
    end)
    watcher:unref()
    watchers[#watchers + 1] = watcher
  end
  start_what_fits()
  uv.run()
  for _, watcher in ipairs(watchers) do watcher:close() end
end

return M
