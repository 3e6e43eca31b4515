-- Records appended to a file, which is rotated as log files are.
--
-- Every worker writes by itself: whole records, in one write() on a descriptor opened for appending, so
-- they never mix.  The write is done by the loop's helper threads: a slow disk delays nobody.

local failure = require "tidegate.failure"
local file = require "tidegate.process.log.file"
local task = require "tidegate.native.task"
local uv = require "luv"

local M = {}
local methods = {}
local mt = { __name = "tidegate.recorder.file", __index = methods }

local BATCH = 256
local AT_ONCE = 65536 -- bytes after which a write takes no further record: files are rotated between writes
local PACE = 0.1 -- seconds: a write wakes two threads

--- @param config { path, sep, rotation }
function M.open(config)
  if not config.path or config.path == "" then
    return nil, failure.new("config", "file: a path is needed")
  end
  return setmetatable({
    path = config.path,
    sep = config.sep or "",
    rotation = config.rotation,
    batch = BATCH,
    bytes = AT_ONCE,
    pace = PACE,
  }, mt)
end

-- All of it, unless the disk is full.  @return bytes written, err
local function write_all(fd, data)
  local done = 0
  while done < #data do
    local waiter = task.waiter()
    local request, problem = uv.fs_write(fd, done > 0 and data:sub(done + 1) or data, -1, function(err, count)
      waiter:wake(err or false, count)
    end)
    if not request then
      return done, failure.new("io", tostring(problem))
    end
    local err, count = waiter:wait()
    if err then
      return done, failure.new("io", tostring(err), { op = "write" })
    end
    done = done + count
  end
  return done
end

--- Append a text of whole records.
-- @return bytes written | that and an error
function methods:append(text)
  if not self.file then
    local err
    self.file, err = file.open(self.path, self.rotation)
    if not self.file then
      return 0, failure.new("io", tostring(err)) -- it may be possible later
    end
  end
  self.file.checked = 0 -- others write to it as well: look how long it is
  return write_all(self.file:prepare(#text), text)
end

function methods:close()
  if self.file then
    self.file:close()
    self.file = nil
  end
end

return M
