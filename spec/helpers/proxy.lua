-- A whole tidegate beside the test, started from the executable under test.
--
--   local p = proxy.start { "-L", "socks5://127.0.0.1:0" }
--   p:port(1)      the port the first service listens on
--   p:log()        what it has logged so far
--   p:stop()       by SIGTERM; → exit code, signal

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local uv = require "luv"

local M = {}

--- The executable under test.
M.executable = os.getenv "TIDEGATE_BIN" or uv.exepath():gsub("tidegate%-spec$", "tidegate")

local running = {}
local methods = {}
local mt = { __index = methods }

local function listening(text)
  local found = {}
  for address, network in text:gmatch 'listening on (%S-)/(%w+)["%s]' do
    found[#found + 1] = { address = address, network = network }
  end
  return found
end

local function count_services(args)
  local count = 0
  for i, arg in ipairs(args) do
    local value = arg == "-L" and args[i + 1]
    if value then
      count = count + 1
    end
  end
  return count
end

--- Start with these arguments; returns once every service listens.
-- options: services (how many, when they are not given by -L), env, shell (text that ends in
-- `exec "$@"`, run first), cwd
function M.start(args, options)
  options = options or {}
  local wanted = options.services or count_services(args)
  local command, all = M.executable, { "--workers", "2", "--drain", "0s", unpack(args) }
  if options.shell then
    table.insert(all, 1, command)
    table.insert(all, 1, "sh")
    table.insert(all, 1, options.shell)
    table.insert(all, 1, "-c")
    command = "sh"
  end
  local self = setmetatable({}, mt)
  self.process = programs.start(command, all, { env = options.env, cwd = options.cwd })
  running[self] = true
  helpers.eventually(function()
    if self.process.over then
      error("tidegate ended early:\n" .. self:log(), 0)
    end
    return #listening(self:log()) >= wanted
  end, "tidegate does not listen", 60)
  return self
end

--- How many descriptors a process holds.
function M.descriptors(pid)
  local count = 0
  local scan = uv.fs_scandir(("/proc/%d/fd"):format(pid))
  while scan and uv.fs_scandir_next(scan) do
    count = count + 1
  end
  return count
end

--- Run to the end: for checks, printing, bad input.  @return { code, stdout, stderr }
function M.run(args, options)
  return programs.run(M.executable, args, options or { seconds = 60 })
end

function methods:log()
  return self.process.stdout .. self.process.stderr
end

function methods:address(index)
  local one = listening(self:log())[index]
  return one and one.address
end

--- The port of the index-th "listening on" line.
function methods:port(index)
  return tonumber(self:address(index):match ":(%d+)$")
end

--- Wait until the log holds a pattern.
function methods:logged(pattern, plain)
  local found, err = pcall(helpers.eventually, function()
    return self:log():find(pattern, 1, plain)
  end, "not logged")
  if not found then
    error(("%s: %s; the log ends with\n%s"):format(err, pattern, self:log():sub(-3000)), 2)
  end
end

--- How many descriptors the process holds.
function methods:descriptors()
  return M.descriptors(self.process.pid)
end

--- CPU seconds used so far.
function methods:cpu()
  local f = assert(io.open(("/proc/%d/stat"):format(self.process.pid)))
  local fields = f:read("*a"):match "%) (.*)"
  f:close()
  local words = {}
  for word in fields:gmatch "%S+" do
    words[#words + 1] = tonumber(word) or 0
  end
  return (words[12] + words[13]) / 100
end

--- Resident memory in KiB.
function methods:rss()
  local f = assert(io.open(("/proc/%d/status"):format(self.process.pid)))
  local kib = f:read("*a"):match "VmRSS:%s*(%d+)"
  f:close()
  return tonumber(kib)
end

function methods:kill(signal)
  return self.process:kill(signal)
end

--- @return exit code, signal
function methods:stop(signal)
  running[self] = nil
  return self.process:stop(signal)
end

--- Stop all that are left; a sanitizer's complaint fails the test.
function M.stop_all()
  local report
  for self in pairs(running) do
    self:stop()
    local log = self:log()
    if log:find("Sanitizer", 1, true) or log:find("runtime error:", 1, true) then -- quick for what is long
      report = report or log:match "[^\n]*ERROR: %w+Sanitizer.*" or log:match "[^\n]*runtime error:.*"
    end
  end
  running = {}
  if report then
    error(report, 0)
  end
end

return M
