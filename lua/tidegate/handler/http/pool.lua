-- Upstream connections that may carry another request.  One pool per handler and worker.

local body = require "tidegate.native.body"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.http.pool", __index = methods }

local IDLE = 30 -- seconds
local SWEEP_MS = 5000
local PER_KEY = 64

--- @return an empty pool
function M.new()
  return setmetatable({ lists = {}, count = 0, alarm = nil, closed = false }, mt)
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
  local oldest = task.now() - IDLE * 1000
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
    self.alarm:wait(task.now() + SWEEP_MS)
    sweep(self)
  end
  self.alarm = nil
end

--- Keep a connection for the next request to the same place; it belongs to the pool now.
function methods:put(key, stream)
  local list = self.lists[key] or {}
  if self.closed or #list >= PER_KEY then
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

--- Close all of them.
function methods:close()
  self.closed = true
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

return M
