-- Files with items: read in libuv's thread pool, and watched.
--
-- What is watched is the folder: a file that another takes the place of (as editors write) would take
-- its watch along.  Where names are links the folder of what they lead to is watched as well.

local failure = require "tidegate.failure"
local task = require "tidegate.native.task"
local uv = require "luv"

local M = {}

local PIECE = 1024 * 1024
local LIMIT = 1024 * 1024 * 1024
local SETTLE_MS = 60 -- without another event: whoever writes has probably finished
local PATIENCE_MS = 1000 -- but no longer than this
local POLL_MS = 2000 -- where no events are to be had

-- Reading -----------------------------------------------------------------------------------------

local function problem(path, text)
  return nil, failure.new("io", text, { op = "file", addr = path })
end

-- "ENOENT: no such file or directory: /path" → "no such file or directory"
local function reason(text)
  text = tostring(text)
  return text:match "^%u+: ([^:]+)" or text
end

-- Call an asynchronous function of luv and wait for it.  @return result | nil, message
local function await(fn, ...)
  local over = task.waiter()
  local args, count = { ... }, select("#", ...)
  args[count + 1] = function(err, result)
    over:wake(not err, err or result)
  end
  local request, why = fn(unpack(args, 1, count + 1))
  if not request then
    return nil, reason(why)
  end
  local ok, result = over:wait()
  if not ok then
    return nil, reason(result)
  end
  return result
end

-- What differs when a file is not the same any more.
local function mark_of(stat)
  return ("%s:%s:%s:%s.%09d:%s.%09d"):format(stat.dev, stat.ino, stat.size, stat.mtime.sec, stat.mtime.nsec,
    stat.ctime.sec, stat.ctime.nsec)
end

local seen = {} -- path → mark when it was read last

local function read_open(fd, path)
  local stat, err = await(uv.fs_fstat, fd)
  if not stat then
    return problem(path, err)
  elseif stat.type ~= "file" then
    return problem(path, "is not a regular file")
  end
  seen[path] = mark_of(stat)
  local parts, total = {}, 0
  while true do
    local piece
    piece, err = await(uv.fs_read, fd, PIECE, -1)
    if not piece then
      return problem(path, err)
    elseif piece == "" then
      return table.concat(parts)
    end
    parts[#parts + 1], total = piece, total + #piece
    if total > LIMIT then
      return problem(path, "is too long")
    end
  end
end

--- Read a whole file.  May wait.  @return text | nil, err
function M.read(path)
  local stat, err = await(uv.fs_stat, path) -- opening a pipe would hang
  if not stat then
    return problem(path, err)
  elseif stat.type ~= "file" then
    return problem(path, "is not a regular file")
  end
  local fd
  fd, err = await(uv.fs_open, path, "r", 0)
  if not fd then
    return problem(path, err)
  end
  local text
  text, err = read_open(fd, path)
  await(uv.fs_close, fd)
  return text, err
end

--- Take note of what a file is now: somebody else is about to read it.
function M.note(path)
  local stat = uv.fs_stat(path)
  seen[path] = stat and mark_of(stat) or nil
end

-- Watching ----------------------------------------------------------------------------------------

local methods = {}
local mt = { __name = "tidegate.file_watch", __index = methods }

local function folder_of(path)
  local folder = path:match "^(.*)/[^/]*$"
  return folder == "" and "/" or folder or "."
end

-- Folders whose events matter: the path's, and what its links lead to.
local function folders_of(path)
  local list = { folder_of(path) }
  local real = uv.fs_realpath(path)
  if real and folder_of(real) ~= list[1] then
    list[2] = folder_of(real)
  end
  return list
end

local function compare(self)
  uv.fs_stat(self.path, function(_, stat)
    if self.closed then
      return
    end
    local mark = stat and mark_of(stat) or "missing"
    if mark ~= self.mark then
      self.mark = mark
      self.fn()
    end
  end)
end

-- Wait for quiet, but not for ever.
local function on_event(self)
  local now = uv.now()
  self.since = self.since or now
  local left = math.min(SETTLE_MS, self.since + PATIENCE_MS - now)
  self.timer:start(math.max(left, 1), 0, function()
    self.since = nil
    self:aim()
    compare(self)
  end)
end

-- Where events cannot be had (no more watches, odd file systems) look now and then.
local function poll(self)
  if not self.poller then
    self.poller = uv.new_timer()
    self.poller:unref()
    self.poller:start(POLL_MS, POLL_MS, function()
      self:aim()
      compare(self)
    end)
  end
end

--- Watch the folders that matter now.
function methods:aim()
  local wanted, complete = {}, true
  for _, folder in ipairs(folders_of(self.path)) do
    local stat = uv.fs_stat(folder)
    wanted[folder] = stat and ("%s:%s"):format(stat.dev, stat.ino) or nil
    complete = complete and stat ~= nil
  end
  for folder, watch in pairs(self.folders) do
    if wanted[folder] ~= watch.id then
      watch.handle:close()
      self.folders[folder] = nil
    end
  end
  for folder, id in pairs(wanted) do
    if not self.folders[folder] then
      local handle = uv.new_fs_event()
      local ok = handle:start(folder, {}, function()
        on_event(self)
      end)
      if ok then
        handle:unref()
        self.folders[folder] = { handle = handle, id = id }
      else
        handle:close()
        complete = false
      end
    end
  end
  if not complete then
    poll(self)
  elseif self.poller then
    self.poller:close()
    self.poller = nil
  end
end

--- End the watch; may be repeated.
function methods:close()
  if self.closed then
    return
  end
  self.closed = true
  self.timer:close()
  if self.poller then
    self.poller:close()
  end
  for _, watch in pairs(self.folders) do
    watch.handle:close()
  end
  self.folders = {}
end

--- Call fn() when a file has changed since it was read last; fn must not wait.
-- @return handle with close()
function M.watch(path, fn)
  local self = setmetatable({
    path = path,
    fn = fn,
    mark = seen[path] or "missing",
    folders = {},
    timer = uv.new_timer(),
    closed = false,
  }, mt)
  self.timer:unref()
  self:aim()
  on_event(self) -- it may have changed since it was read
  return self
end

return M
