-- What comes by callback, for somebody who waits for one after the other.

local failure = require "tidegate.failure"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.arrivals", __index = methods }

function M.new()
  return setmetatable({ waiting = task.waiter(), items = {}, first = 1, last = 0 }, mt)
end

--- Add one.
-- @param peer its address, or nil
function methods:push(item, peer)
  if self.over then
    return item:close()
  end
  self.last = self.last + 1
  self.items[self.last] = { item = item, peer = peer }
  self.waiting:wake(true)
end

--- Nothing more will come; who waits gets the error.
function methods:finish(err)
  self.over = self.over or err or failure.new("closed", "the listener was closed")
  self.waiting:wake(true)
end

--- Wait for the next one.  @return it, its address | nil, err
function methods:pop(deadline)
  while self.first > self.last do
    if self.over then
      return nil, self.over
    end
    local ok, err = self.waiting:wait(deadline)
    if not ok and err then
      return nil, err
    end
  end
  local next_one = self.items[self.first]
  self.items[self.first] = nil
  self.first = self.first + 1
  return next_one.item, next_one.peer
end

--- Close what nobody has taken; nothing more will come.
function methods:close()
  self:finish()
  while self.first <= self.last do
    self:pop():close()
  end
end

return M
