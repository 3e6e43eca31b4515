-- A log file that is rotated by size.
--
-- Several VMs append to one file.  Who finds it full takes a lock on it, looks whether the path still
-- leads to it, renames it and begins a new one; the others notice within a second that the path leads
-- elsewhere.  Old files are compressed and removed a little later, when nobody writes to them.

local ffi = require "ffi"
local bit = require "bit"
local luv = require "luv"
local failure = require "tidegate.failure"

local C = ffi.C
local O_WRONLY, O_CREAT, O_APPEND, O_CLOEXEC = 0x1, 0x40, 0x400, 0x80000
local FLAGS = bit.bor(O_WRONLY, O_CREAT, O_APPEND, O_CLOEXEC)
local LOCK_EX, LOCK_UN = 2, 8
local MEGABYTE = 1048576
local DEFAULT_SIZE = 100 -- MB
local MODE_FIRST = tonumber("666", 8)
local MODE_NEXT = tonumber("600", 8)
local TIDY_DELAY = 3000 -- ms; longer than others may need to see that a file was renamed

ffi.cdef [[
int tidegate_log_open(const char *path, int flags, ...) __asm__("open");
int tidegate_log_close(int fd) __asm__("close");
int tidegate_log_flock(int fd, int operation) __asm__("flock");
]]

local M = {}
local methods = {}
local mt = { __name = "tidegate.log.file", __index = methods }

local function make_parents(path)
  local at = 1
  while true do
    local slash = path:find("/", at, true)
    if not slash then
      return
    end
    if slash > 1 then
      luv.fs_mkdir(path:sub(1, slash - 1), tonumber("755", 8))
    end
    at = slash + 1
  end
end

local function open_descriptor(path, mode)
  local fd = C.tidegate_log_open(path, FLAGS, ffi.new("int", mode))
  if fd < 0 then
    local _, reason = luv.fs_open(path, "a", mode)
    return nil, failure.new("config", tostring(reason), { op = "open log file", addr = path })
  end
  return fd
end

--- Open a file for appending; missing folders are made.
-- @return the file | nil, err
function M.open(path, rotation)
  make_parents(path)
  local fd, err = open_descriptor(path, MODE_FIRST)
  if not fd then
    return nil, err
  end
  local self = setmetatable({ path = path, fd = fd, size = 0, checked = 0, inode = 0 }, mt)
  self:configure(rotation)
  return self
end

--- Take over new settings: maxSize (MB), maxAge (days), maxBackups, localTime, compress.
function methods:configure(rotation)
  self.rotation = rotation
  self.limit = rotation and (rotation.maxSize and rotation.maxSize > 0 and rotation.maxSize or DEFAULT_SIZE)
    * MEGABYTE
end

local function reopen(self, mode)
  local fd = open_descriptor(self.path, mode)
  if fd then
    C.tidegate_log_close(self.fd)
    self.fd = fd
  end
end

local function look(self)
  local own = luv.fs_fstat(self.fd)
  self.inode, self.size = own.ino, own.size
  return luv.fs_stat(self.path)
end

-- Others may have renamed the file or written to it.
local function check(self)
  local now = os.time()
  if now == self.checked then
    return
  end
  self.checked = now
  local there = look(self)
  if not there or there.ino ~= self.inode then
    reopen(self, MODE_FIRST)
    look(self)
  end
end

local function backup_name(self)
  local stem, extension = self.path:match("^(.*[^/])(%.[^./]*)$")
  stem, extension = stem or self.path, extension or ""
  local seconds, micros = luv.gettimeofday()
  local millis = math.floor(micros / 1000)
  local form = (self.rotation.localTime and "" or "!") .. "%Y-%m-%dT%H-%M-%S"
  for _ = 1, 1000 do
    local name = ("%s-%s.%03d%s"):format(stem, os.date(form, seconds), millis, extension)
    if not luv.fs_stat(name) and not luv.fs_stat(name .. ".gz") then
      return name
    end
    millis = millis + 1
    seconds, millis = seconds + math.floor(millis / 1000), millis % 1000
  end
  return self.path .. ".old"
end

local function rotate(self)
  local fd = self.fd
  C.tidegate_log_flock(fd, LOCK_EX)
  local there = look(self)
  if there and there.ino == self.inode then
    luv.fs_rename(self.path, backup_name(self))
    self:tidy_later()
  end
  reopen(self, MODE_NEXT)
  if self.fd == fd then
    C.tidegate_log_flock(fd, LOCK_UN)
  end
  look(self)
end

--- Make ready for `size` more bytes.  @return the descriptor
function methods:prepare(size)
  check(self)
  if self.limit and self.size > 0 and self.size + size > self.limit then
    rotate(self)
  end
  self.size = self.size + size
  return self.fd
end

--- Close it; it cannot be used any more.
function methods:close()
  C.tidegate_log_close(self.fd)
  self.fd = -1
end

-- The files rotated so far, oldest first: { path, time, packed }.
local function backups(self)
  local folder, name = self.path:match("^(.*/)([^/]*)$")
  folder, name = folder or "./", name or self.path
  local stem, extension = name:match("^(.+)(%.[^.]*)$")
  stem, extension = stem or name, extension or ""

  local found = {}
  local request = luv.fs_scandir(folder)
  while request do
    local entry = luv.fs_scandir_next(request)
    if not entry then
      break
    end
    local plain = entry:gsub("%.gz$", "")
    local middle = plain:sub(1, #stem + 1) == stem .. "-" and plain:sub(-#extension - 1, -1 - #extension)
      and plain:sub(#stem + 2, #plain - #extension)
    local y, mo, d, h, mi, s = (middle or ""):match("^(%d+)-(%d+)-(%d+)T(%d+)-(%d+)-(%d+)%.%d%d%d$")
    if y and plain:sub(#plain - #extension + 1) == extension then
      found[#found + 1] = {
        path = folder .. entry,
        stamp = middle,
        packed = entry ~= plain,
        time = os.time { year = y, month = mo, day = d, hour = h, min = mi, sec = s },
      }
    end
  end
  table.sort(found, function(a, b)
    return a.stamp < b.stamp
  end)
  return found
end

local function pack(path)
  local handle
  handle = luv.spawn("gzip", { args = { "-f", path }, stdio = {} }, function()
    handle:close()
  end)
end

--- Remove and compress old files as the settings say.
function methods:tidy()
  local rotation = self.rotation
  if not rotation then
    return
  end
  local list = backups(self)
  local oldest = (rotation.maxAge or 0) > 0 and os.time() - rotation.maxAge * 86400 or nil
  local keep = (rotation.maxBackups or 0) > 0 and rotation.maxBackups or #list
  for i = 1, #list do
    local backup = list[i]
    if i <= #list - keep or oldest and backup.time < oldest then
      luv.fs_unlink(backup.path)
    elseif rotation.compress and not backup.packed then
      pack(backup.path)
    end
  end
end

--- The same, in a few seconds.
function methods:tidy_later()
  local timer = luv.new_timer()
  timer:start(TIDY_DELAY, 0, function()
    timer:close()
    self:tidy()
  end)
  timer:unref()
end

return M
