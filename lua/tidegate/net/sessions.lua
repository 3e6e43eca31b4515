-- Sessions to one place, used again: each carries many streams.  Whoever needs one gets one that has
-- room; if there is none, one task opens it and the others wait for it.
--
-- A session has is_alive(), count() and close(); room() (streams that could be opened now) and
-- drain() are optional.

local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.sessions", __index = methods }

local SWEEP = 5 -- seconds between looks at what is idle

--- @param options nil or { idle = seconds after which a session without streams is closed (nil: never),
--   streams = most streams of one session (nil: as many as it takes) }
function M.new(options)
  options = options or {}
  return setmetatable({
    idle = options.idle and options.idle > 0 and options.idle * 1000 or nil,
    streams = options.streams and options.streams > 0 and options.streams or math.huge,
    waiting = {},
    sessions = {},
  }, mt)
end

local function room(self, session)
  local free = self.streams - session:count()
  return session.room and math.min(free, session:room()) or free
end

-- Drop what is dead; close what has been idle for long, and when the pool is closed, what is empty.
local function sweep(self)
  local now, kept = task.now(), {}
  for _, entry in ipairs(self.sessions) do
    local session = entry.session
    local empty = session:count() == 0
    entry.since = empty and (entry.since or now) or nil
    local over = empty
      and (self.closed or not session:is_alive() or self.idle and now - entry.since >= self.idle)
    if over then
      session:close()
    else
      kept[#kept + 1] = entry
    end
  end
  self.sessions = kept
end

-- Runs as long as there are sessions.
local function keep_sweeping(self)
  while #self.sessions > 0 do
    local seconds = self.closed and 1 or self.idle and math.min(SWEEP, self.idle / 1000) or SWEEP
    self.sweeping:wait(task.now() + seconds * 1000)
    sweep(self)
  end
  self.sweeping = nil
end

local function add(self, session)
  self.sessions[#self.sessions + 1] = { session = session }
  if not self.sweeping then
    self.sweeping = task.waiter()
    task.spawn(keep_sweeping, self)
  end
end

local function find(self)
  for _, entry in ipairs(self.sessions) do
    if entry.session:is_alive() and room(self, entry.session) > 0 then
      entry.since = nil
      return entry.session
    end
  end
end

local function wake_all(self)
  local waiting = self.waiting
  self.waiting = {}
  for waiter in pairs(waiting) do
    waiter:wake()
  end
end

local function open_one(self, open)
  self.opening = true
  local ok, session, err = pcall(open)
  self.opening = false
  if ok and session then
    add(self, session)
  end
  wake_all(self)
  if not ok then
    error(session, 0)
  end
  return session, err
end

local function wait_for_other(self, deadline)
  local waiter = task.waiter()
  self.waiting[waiter] = true
  local _, err = waiter:wait(deadline)
  self.waiting[waiter] = nil
  return err
end

--- A session with room for a stream.
-- @param open function: → session | nil, err; called when a new one is needed
-- @param deadline nil or ms
-- @return session, whether it was used before | nil, err
function methods:take(open, deadline)
  while true do
    local session = find(self)
    if session then
      return session, true
    elseif not self.opening then
      local err
      session, err = open_one(self, open)
      if not session then
        return nil, err
      end
      return session, false
    end
    local err = wait_for_other(self, deadline)
    if err then
      return nil, err
    end
  end
end

--- Let no more streams be opened on a session that did not work.
function methods:forget(session)
  for i, entry in ipairs(self.sessions) do
    if entry.session == session then
      table.remove(self.sessions, i)
      if session.drain then
        session:drain()
      end
      -- It is closed when its last stream is; until then somebody has to hold it.
      self.closing = self.closing or M.new()
      self.closing.closed = true
      add(self.closing, session)
      return
    end
  end
end

--- @return number of sessions
function methods:count()
  return #self.sessions
end

--- Close what is not in use, and the rest with its last stream.
function methods:close()
  self.closed = true
  sweep(self)
  if self.sweeping then
    self.sweeping:wake()
  end
end

return M
