-- What happens in the process, for those who watch: connections that open and close, states of services,
-- lines of the log.  Lives in the control thread; workers tell nothing while nobody watches.

local log = require "tidegate.process.log"
local message = require "tidegate.process.message"
local status = require "tidegate.process.status"
local task = require "tidegate.native.task"

local M = {}

local WATCHERS_MAX = 64
local WAITING_MAX = 2000 -- events that a slow watcher may have before it; what is more is lost, and counted
local ANSWER_MS = 5000

local watchers, count = {}, 0
local methods = {}
local mt = { __index = methods }

--- Tell those who want to hear of a kind.
-- @param kind "open", "close", "state" or "log"
function M.publish(kind, data)
  for watcher in pairs(watchers) do
    if watcher.kinds[kind] then
      if #watcher.waiting >= WAITING_MAX then
        watcher.lost = watcher.lost + 1
      else
        watcher.waiting[#watcher.waiting + 1] = { kind = kind, data = data }
        watcher.alarm:wake(true)
      end
    end
  end
end

local function on_line(level, line)
  M.publish("log", { level = level, line = line })
end

local function settle()
  local on = count > 0
  log.tap(on and on_line or nil)
  message.call({ type = "listen", on = on }, task.now() + ANSWER_MS)
end

--- Watch from now on.
-- @param kinds set of kinds
-- @return watcher | nil when there are too many
function M.watch(kinds)
  if count >= WATCHERS_MAX then
    return nil
  end
  local watcher = setmetatable({ kinds = kinds, waiting = {}, lost = 0, alarm = task.waiter() }, mt)
  watchers[watcher] = true
  count = count + 1
  if count == 1 then
    settle()
  end
  return watcher
end

--- Wait for events.
-- @return a list of { kind, data }, empty when none came in time; how many were lost before them
function methods:next(deadline)
  if #self.waiting == 0 then
    self.alarm:wait(deadline)
  end
  local list, lost = self.waiting, self.lost
  self.waiting, self.lost = {}, 0
  return list, lost
end

--- Watch no more.
function methods:close()
  if watchers[self] then
    watchers[self] = nil
    count = count - 1
    if count == 0 then
      settle()
    end
  end
end

--- Begin to hear of what happens.
function M.open()
  message.handle("happened", function(news)
    for _, item in ipairs(news.list) do
      M.publish(item[1], item[2])
    end
    for watcher in pairs(watchers) do
      watcher.lost = watcher.lost + news.lost
    end
  end)
  status.on_state(function(name, state, text)
    M.publish("state", { service = name, state = state, msg = text })
  end)
end

return M
