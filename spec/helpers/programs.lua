-- Programs others wrote, started by specs: run to the end, or kept as a server beside the test.
--
-- Everything started here is stopped by `programs.stop_all()`, which `after_each` of a spec calls; each
-- server leads a process group of its own, so that what it forked goes with it.

local listener = require "tidegate.native.listener"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

local M = {}

local running, folders = {}, {}

-- Below the ports that sockets get which ask for none; specs that run side by side take from ranges of their own.
local SHARES, PORTS = 42, 500
local lowest = 11000 + uv.os_getpid() % SHARES * PORTS
local given = {} -- port → true: nobody need listen there yet

--- A port that neither TCP nor UDP uses now, nor will whoever does not ask for it.
function M.free_port()
  local random = assert(io.open("/dev/urandom", "rb"))
  for _ = 1, 100 do
    local a, b = random:read(2):byte(1, 2)
    local port = lowest + (a * 256 + b) % PORTS
    local at = "127.0.0.1:" .. port
    local tcp, udp = listener.open(at, "stream", 1), listener.open(at, "datagram", 1)
    for _, fds in ipairs { tcp or {}, udp or {} } do
      if fds[1] then
        listener.close_fd(fds[1])
      end
    end
    if tcp and udp and not given[port] then
      random:close()
      given[port] = true
      return port
    end
  end
  error "no port is free"
end

--- A fresh folder, removed by stop_all().
function M.folder()
  local path = assert(uv.fs_mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/tidegate-spec-XXXXXX"))
  uv.fs_chmod(path, 493) -- 0755: some servers drop their privileges
  folders[#folders + 1] = path
  return path
end

--- Write a file.  @return its path
function M.file(folder, name, text)
  local path = folder .. "/" .. name
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
  return path
end

local function collect(pipe, into, name, done)
  into[name] = ""
  pipe:read_start(function(_, chunk)
    if chunk then
      into[name] = into[name] .. chunk
    else
      pipe:close()
      done()
    end
  end)
end

local function spawn(command, args, options, on_exit)
  local self = { stdout = "", stderr = "" }
  local open = 3
  local function done()
    open = open - 1
    if open == 0 and on_exit then
      on_exit(self)
    end
  end
  local stdin = options.stdin and uv.new_pipe(false) or nil
  local out, err = uv.new_pipe(false), uv.new_pipe(false)
  local env
  if options.env then
    env = {}
    for name, value in pairs(uv.os_environ()) do
      if options.env[name] == nil then
        env[#env + 1] = name .. "=" .. value
      end
    end
    for name, value in pairs(options.env) do
      env[#env + 1] = name .. "=" .. tostring(value)
    end
  end
  local problem
  self.handle, problem = uv.spawn(command, {
    args = args, stdio = { stdin, out, err }, detached = true, env = env, cwd = options.cwd,
  }, function(code, signal)
    self.code, self.signal, self.over = code, signal, true
    self.handle:close()
    done()
  end)
  if not self.handle then
    error(("cannot start %s: %s"):format(command, tostring(problem)), 3)
  end
  self.pid = problem
  collect(out, self, "stdout", done)
  collect(err, self, "stderr", done)
  if stdin then
    stdin:write(options.stdin, function()
      stdin:close()
    end)
  end
  return self
end

--- Run a program to its end: programs.run("curl", {"-s", url}, {seconds = 30, stdin = text, env = {}}).
-- @return { code, signal, stdout, stderr }; code 124 when it took too long
function M.run(command, args, options)
  options = options or {}
  local over = task.waiter()
  local self = spawn(command, args, options, function()
    over:wake(true)
  end)
  running[self] = true
  if not over:wait(task.now() + (options.seconds or 60) * 1000) then
    uv.kill(-self.pid, "sigkill")
    over:wait(task.now() + 5000)
    self.code = 124
  end
  running[self] = nil
  return self
end

--- Run and insist on success.  @return stdout
function M.output(command, args, options)
  local self = M.run(command, args, options)
  if self.code ~= 0 then
    error(("%s %s: exit status %s\n%s%s"):format(command, table.concat(args, " "), self.code, self.stdout,
      self.stderr), 2)
  end
  return self.stdout
end

--- @return whether a program is installed
function M.have(command)
  for folder in ((os.getenv "PATH" or "") .. ":/usr/sbin:/sbin"):gmatch "[^:]+" do
    if uv.fs_access(folder .. "/" .. command, "X") then
      return true
    end
  end
  return false
end

--- Wait until something accepts on 127.0.0.1:port.
function M.wait_port(port, self)
  local limit = task.now() + 60000
  while true do
    local s = stream.dial("127.0.0.1:" .. port, nil, task.now() + 1000)
    if s then
      s:close()
      return
    end
    if self and self.over then
      error("the program ended early:\n" .. self.stdout .. self.stderr, 3)
    elseif task.now() > limit then
      error("nobody listens on port " .. port .. (self and "\n" .. self.stdout .. self.stderr or ""), 3)
    end
    task.sleep(0.02)
  end
end

local server = {}
server.__index = server

--- Stop it and wait for its end.  @return exit code, signal
function server:stop(signal)
  if not self.over then
    uv.kill(-self.pid, signal or "sigterm")
  end
  local limit = task.now() + 10000
  while not self.over do
    if task.now() > limit then
      uv.kill(-self.pid, "sigkill")
      limit = task.now() + 10000
    end
    task.sleep(0.01)
  end
  pcall(uv.kill, -self.pid, "sigkill") -- what it forked
  running[self] = nil
  return self.code, self.signal
end

--- Send a signal to it alone.
function server:kill(signal)
  return uv.kill(self.pid, signal)
end

--- Start a server.  options: port (waits until it accepts), ready (a pattern in its output), env, cwd, keep (stop_all()
-- leaves it alone: it ends by itself)
function M.start(command, args, options)
  options = options or {}
  local self = setmetatable(spawn(command, args, options), server)
  running[self] = not options.keep or nil
  if options.port then
    M.wait_port(options.port, self)
  end
  local limit = task.now() + 60000
  while options.ready and not (self.stdout .. self.stderr):find(options.ready) do
    if self.over or task.now() > limit then
      error(("%s is not ready\n%s%s"):format(command, self.stdout, self.stderr), 2)
    end
    task.sleep(0.01)
  end
  return self
end

--- Stop what runs, remove the folders.
function M.stop_all()
  for self in pairs(running) do
    if not self.over then
      pcall(uv.kill, -self.pid, "sigkill")
    end
  end
  local limit = task.now() + 5000
  for self in pairs(running) do
    while not self.over and task.now() < limit do
      task.sleep(0.01)
    end
  end
  running = {}
  for _, path in ipairs(folders) do
    os.execute(("rm -rf '%s'"):format(path))
  end
  folders = {}
end

return M
