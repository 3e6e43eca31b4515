-- Records appended to a file, which is rotated as log files are.
--
-- Every worker writes by itself: whole records, in one write() on a descriptor opened for appending, so
-- they never mix.  The write is done by the loop's helper threads: a slow disk delays nobody.

local buffer = require "string.buffer"
local failure = require "tidegate.failure"
local file = require "tidegate.process.log.file"
local task = require "tidegate.native.task"
local uv = require "luv"

local M = {}
local methods = {}
local mt = { __name = "tidegate.recorder.file", __index = methods }

local BATCH = 256
local AT_ONCE = 65536 -- bytes after which a write takes no further record: files are rotated between writes
local PACE = 0.02 -- seconds

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

local function join(self, list, from)
  local text, sizes = buffer.new(), {}
  for i = from, #list do
    local data = list[i].data
    text:put(data, self.sep)
    sizes[#sizes + 1] = #data + #self.sep
    if #text >= AT_ONCE then
      break
    end
  end
  return text:tostring(), sizes
end

-- The rest of a record that a full disk cut.
local function finish_rest(self, fd)
  local done, err = write_all(fd, self.rest)
  self.rest = done < #self.rest and self.rest:sub(done + 1) or nil
  return err
end

-- How many records are in the file for `done` bytes; a half one is finished later.
local function settle(self, data, sizes, done)
  local count, sum = 0, 0
  while count < #sizes and sum < done do
    count = count + 1
    sum = sum + sizes[count]
  end
  if sum > done then
    self.rest = data:sub(done + 1, sum)
  end
  return count
end

function methods:write(list, from)
  if not self.file then
    local err
    self.file, err = file.open(self.path, self.rotation)
    if not self.file then
      return 0, failure.new("io", tostring(err)) -- it may be possible later
    end
  end
  local data, sizes = join(self, list, from)
  self.file.checked = 0 -- others write to it as well: look how long it is
  local fd = self.file:prepare(#data)
  local err = self.rest and finish_rest(self, fd)
  if err then
    return 0, err
  end
  local done
  done, err = write_all(fd, data)
  return settle(self, data, sizes, done), err
end

function methods:close()
  if self.file then
    self.file:close()
    self.file = nil
  end
end

return M
