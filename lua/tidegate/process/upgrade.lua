-- A new process in the place of this one, without a moment in which nobody listens.
--
-- The executable is started again with the same arguments and the listening sockets, passed the way
-- service managers do (LISTEN_FDS, LISTEN_FDNAMES).  Both accept until the new one is ready; then the old
-- one drains.  If the new one fails, the old one goes on as if nothing had been tried.

local failure = require "tidegate.failure"
local task = require "tidegate.native.task"
local uv = require "luv"

local M = {}

local READY_MS = 60000 -- a new process that takes longer is given up

local READY = "READY=1"
local SAID_MAX = 4096 -- of what it says

local OWN = {
  LISTEN_FDS = true, LISTEN_PID = true, LISTEN_FDNAMES = true, TIDEGATE_PREDECESSOR = true,
  TIDEGATE_READY_FD = true,
}

local child -- the new process while it is not ready

local function environment(offers, ready_fd)
  local names, env = {}, {}
  for i, offer in ipairs(offers) do
    names[i] = offer.name
  end
  for name, value in pairs(uv.os_environ()) do
    env[#env + 1] = not OWN[name] and name .. "=" .. value or nil
  end
  env[#env + 1] = "LISTEN_FDS=" .. #offers
  env[#env + 1] = "LISTEN_FDNAMES=" .. table.concat(names, ":")
  env[#env + 1] = "TIDEGATE_PREDECESSOR=" .. uv.os_getpid()
  env[#env + 1] = "TIDEGATE_READY_FD=" .. ready_fd
  return env
end

-- The file that was started, also when a package has replaced it since.
local function executable()
  return (uv.exepath():gsub(" %(deleted%)$", ""))
end

-- It says that it is ready, or what is wrong before it ends.
-- @return true | nil, what went wrong
local function wait_ready(pipe)
  local over, said = task.waiter(), ""
  pipe:read_start(function(_, chunk)
    said = (said .. (chunk or "")):sub(-SAID_MAX)
    local ready = said:sub(-#READY) == READY
    if ready or not chunk then
      over:wake(ready)
    end
  end)
  local ready = over:wait(task.now() + READY_MS)
  pipe:close()
  if ready then
    return true
  elseif ready == nil then
    return nil, ("the new process was not ready within %d s"):format(READY_MS / 1000)
  end
  said = said:gsub("tidegate: ", ""):gsub("%s+$", ""):gsub("\n", "; ")
  return nil, "the new process ended before it was ready" .. (said ~= "" and ": " .. said or "")
end

--- Start the executable again and wait until it serves.
-- @param argv list of arguments
-- @param offers list of { name, fd }
-- @return its process id | nil, what went wrong; the new process is gone then
function M.start(argv, offers)
  local pipe = uv.new_pipe(false)
  local stdio = { 0, 1, 2 }
  for _, offer in ipairs(offers) do
    stdio[#stdio + 1] = offer.fd
  end
  local ready_fd = #stdio
  stdio[#stdio + 1] = pipe
  local handle, err = uv.spawn(executable(), {
    args = argv, env = environment(offers, ready_fd), stdio = stdio,
  }, function()
    child = nil
  end)
  if not handle then
    pipe:close()
    return nil, failure.new("io", ("cannot start %s: %s"):format(executable(), tostring(err)))
  end
  handle:unref()
  child = handle
  local pid, ok = err, nil -- spawn() gives the id there
  ok, err = wait_ready(pipe)
  if not ok then
    M.cancel()
    return nil, err
  end
  child = nil
  return pid
end

--- End a new process that is not ready yet, if there is one.
function M.cancel()
  if child then
    child:kill "sigkill"
    child = nil
  end
end

return M
