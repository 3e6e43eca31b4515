--- Child processes that leave nothing behind: own session, own temporary folder, a time limit, and
-- where the machine allows it a PID namespace, which takes every descendant with it when it ends,
-- and a network namespace, so that steps that run side by side never meet on a port.
local uv = require "luv"

local M = {}

local PROXY_VARIABLES = { "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy" }

local function works(command)
  return os.execute(command .. " >/dev/null 2>&1") == 0
end

-- An init that reaps; the command is its child so that signals work as usual.
-- @param network whether the machine's network is to be seen
local function find_wrapper(network)
  local wrapper = {}
  if works("setpriv --pdeathsig KILL true") then
    wrapper = { "setpriv", "--pdeathsig", "KILL" }
  end
  local spaces, script = nil, '"$@"; exit $?'
  if not network and works("unshare -npf --mount-proc --kill-child ip link set lo up") then
    -- Servers that are killed leave their shared memory behind.
    script = "ip link set lo up; mount -t tmpfs -o mode=1777 tmpfs /dev/shm; " .. script
    spaces = "-npf"
  elseif works("unshare -pf --mount-proc --kill-child true") then
    spaces = "-pf"
  end
  if spaces then
    for _, word in ipairs { "unshare", spaces, "--mount-proc", "--kill-child",
                            "sh", "-c", script, "sh" } do
      wrapper[#wrapper + 1] = word
    end
  end
  return wrapper
end

local apart, open = find_wrapper(false), find_wrapper(true)

local function environment(extra, tmp, network)
  local env = uv.os_environ()
  for _, name in ipairs(network and {} or PROXY_VARIABLES) do
    env[name], env[name:upper()] = nil, nil
  end
  env.TMPDIR = tmp
  env.PATH = (env.PATH or "/usr/bin:/bin") .. ":/usr/sbin:/sbin"
  for name, value in pairs(extra or {}) do
    env[name] = value:gsub("%%{tmp}", tmp)
  end
  local list = {}
  for name, value in pairs(env) do
    list[#list + 1] = name .. "=" .. value
  end
  return list
end

local running = {}

--- Start a command.
-- options: command (list), env (table), timeout (seconds), log (path of stdout and stderr), network (whether
-- it may use the machine's; otherwise it has a loopback of its own).
-- "%{tmp}" in arguments and environment stands for a fresh folder; what programs leave there under
-- the name sanitizer.* is appended to the log, then it is removed.
-- on_done receives { code, signal, timed_out, seconds, sanitizer }.
function M.start(options, on_done)
  local tmp = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/tg-XXXXXX"))
  uv.fs_chmod(tmp, 493) -- 0755: some servers drop their privileges
  local words = {}
  for _, word in ipairs(options.network and open or apart) do words[#words + 1] = word end
  for _, word in ipairs(options.command) do
    words[#words + 1] = (word:gsub("%%{tmp}", tmp))
  end
  local log = assert(uv.fs_open(options.log, "w", 420))
  local result = { timed_out = false }
  local started = uv.hrtime()
  local timer = uv.new_timer()
  local process, pid

  local function finish(code, signal)
    timer:close()
    running[pid] = nil
    pcall(uv.kill, -pid, "sigkill") -- stragglers, when there is no namespace
    process:close()
    uv.fs_close(log)
    result.sanitizer = works(("ls %s/sanitizer.*"):format(tmp))
    os.execute(("cat %s/sanitizer.* >>%s 2>/dev/null; rm -rf %s"):format(tmp, options.log, tmp))
    result.code, result.signal = code, signal
    result.seconds = (uv.hrtime() - started) / 1e9
    on_done(result)
  end

  process, pid = uv.spawn(words[1], {
    args = { unpack(words, 2) },
    env = environment(options.env, tmp, options.network),
    stdio = { nil, log, log },
    detached = true,
  }, finish)
  if not process then
    error(("cannot start %s: %s"):format(words[1], pid))
  end
  running[pid] = true
  timer:start(options.timeout * 1000, 0, function()
    result.timed_out = true
    pcall(uv.kill, -pid, "sigkill")
  end)
end

--- Kill everything that runs.
function M.kill_all()
  for pid in pairs(running) do
    pcall(uv.kill, -pid, "sigkill")
  end
end

return M
