-- Where log lines go: a descriptor, or a file that is rotated.
--
-- Every VM writes by itself.  A line is never cut: descriptors are opened for appending and each
-- write() holds whole lines.  Lines below "warn" may wait until the current turn of the loop ends, so
-- that a busy worker makes one system call for many.

local ffi = require "ffi"
local buffer = require "string.buffer"
local file = require "tidegate.process.log.file"

local C = ffi.C
local EINTR = 4
local FLUSH_AT = 32768
local DESCRIPTORS = { stdout = 1, stderr = 2 }

ffi.cdef [[
ssize_t tidegate_log_write(int fd, const void *data, size_t size) __asm__("write");
char *strerror(int errnum);
]]

local M = {}
local methods = {}
local mt = { __name = "tidegate.log.sink", __index = methods }

local spawn -- starts a task soon; nil: write at once
local all = {} -- by output

--- Let lines wait until the loop comes round; `start` is task.spawn.  nil: write each at once.
function M.batch(start)
  spawn = start
  if not start then
    M.flush()
  end
end

-- What cannot be written is lost.  @return nil, or the errno that says why
local function write_all(fd, data, size)
  while size > 0 do
    local n = tonumber(C.tidegate_log_write(fd, data, size))
    if n < 0 and ffi.errno() ~= EINTR then
      return ffi.errno()
    elseif n > 0 then
      data, size = data + n, size - n
    end
  end
end

-- Of a file that takes no more, standard error is told; of that one nobody can be.
local function tell(self, errno)
  if not self.file or (errno ~= nil) == (self.lossy or false) then
    return
  end
  self.lossy = errno ~= nil
  local text = ("tidegate: log file %s: %s\n"):format(self.file.path,
    errno and ffi.string(C.strerror(errno)) .. "; lines are lost" or "works again")
  write_all(DESCRIPTORS.stderr, ffi.cast("const char *", text), #text)
end

--- Write what waits.
function methods:flush()
  self.queued = false
  local size = #self.waiting
  if size == 0 then
    return
  end
  local fd = self.file and self.file:prepare(size) or self.fd
  if fd then
    local data = self.waiting:ref()
    tell(self, write_all(fd, data, size))
  end
  self.waiting:reset()
end

local function flush(sink)
  sink:flush()
end

--- Take a line over; `now`: it must not wait.
function methods:put(line, now)
  local waiting = self.waiting
  waiting:put(line)
  if now or not spawn or #waiting >= FLUSH_AT then
    self:flush()
  elseif not self.queued then
    self.queued = true
    spawn(flush, self)
  end
end

--- Write what waits in all sinks.
function M.flush()
  for _, sink in pairs(all) do
    sink:flush()
  end
end

local function make(fields)
  fields.waiting = buffer.new()
  fields.queued = false
  return setmetatable(fields, mt)
end

--- @param output "stderr" (or empty), "stdout", "none", "null", or a path
-- @param rotation the configuration's object, or nil
-- @return the sink, or nil for none, and a warning when a file cannot be opened (stderr takes its place)
function M.open(output, rotation)
  if not output or output == "" then
    output = "stderr"
  elseif output == "none" or output == "null" then
    return nil
  end

  local sink = all[output]
  if sink then
    if sink.file then
      sink.file:configure(rotation)
    end
    return sink
  end

  if DESCRIPTORS[output] then
    sink = make { fd = DESCRIPTORS[output] }
  else
    local target, err = file.open(output, rotation)
    if not target then
      return M.open("stderr"), err
    end
    sink = make { file = target }
  end
  all[output] = sink
  return sink
end

return M
