-- Connections that may carry another request: a handler's to its upstreams, the HTTP client's to
-- origins.

local body = require "tidegate.native.body"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.http.pool", __index = methods }

local IDLE = 30 -- seconds
local SWEEP_MS = 5000
local PER_KEY = 64
local TOTAL = 4096

--- An empty pool.
-- @param limits nil or { idle = seconds, per_key = connections, total = connections }
function M.new(limits)
  limits = limits or {}
  return setmetatable({
    lists = {},
    count = 0,
    alarm = nil,
    closed = false,
    idle = (limits.idle or IDLE) * 1000,
    per_key = limits.per_key or PER_KEY,
    total = limits.total or TOTAL,
  }, mt)
end

--- Take a connection that is still alive.  @return stream | nil
function methods:take(key)
  local list = self.lists[key]
  while list and #list > 0 do
    local entry = table.remove(list)
    self.count = self.count - 1
    if #list == 0 then
      self.lists[key] = nil
    end
    if body.quiet(entry.stream) then
      return entry.stream
    end
    entry.stream:close()
  end
end

-- Close what has been idle for too long.
local function sweep(self)
  local oldest = task.now() - self.idle
  for key, list in pairs(self.lists) do
    local kept = {}
    for _, entry in ipairs(list) do
      if entry.since > oldest and body.quiet(entry.stream) then
        kept[#kept + 1] = entry
      else
        entry.stream:close()
        self.count = self.count - 1
      end
    end
    self.lists[key] = kept[1] and kept or nil
  end
end

local function keep_sweeping(self)
  while self.count > 0 do
    self.alarm:wait(task.now() + math.min(SWEEP_MS, self.idle))
    sweep(self)
  end
  self.alarm = nil
end

--- Keep a connection for the next request to the same place; it belongs to the pool now.
function methods:put(key, stream)
  local list = self.lists[key] or {}
  if self.closed or #list >= self.per_key or self.count >= self.total then
    stream:close()
    return
  end
  self.lists[key] = list
  list[#list + 1] = { stream = stream, since = task.now() }
  self.count = self.count + 1
  if not self.alarm then
    self.alarm = task.waiter()
    task.spawn(keep_sweeping, self)
  end
end

--- Close those to one place.
function methods:forget(key)
  for _, entry in ipairs(self.lists[key] or {}) do
    entry.stream:close()
    self.count = self.count - 1
  end
  self.lists[key] = nil
end

--- Close all of them; the pool may go on.
function methods:clear()
  for _, list in pairs(self.lists) do
    for _, entry in ipairs(list) do
      entry.stream:close()
    end
  end
  self.lists, self.count = {}, 0
  if self.alarm then
    self.alarm:wake()
  end
end

--- Close all of them, and whatever is put here later.
function methods:close()
  self.closed = true
  self:clear()
end

return M
