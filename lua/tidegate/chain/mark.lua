-- Failures of nodes, counted once for all workers.
--
-- An item has failed when it failed `max_fails` times in a row and the last time was less than
-- `fail_timeout` seconds ago.  Nothing but a success resets the count.

local key = require "tidegate.chain.key"
local shared = require "tidegate.native.shared"

local M = {}

local MAX_FAILS, FAIL_TIMEOUT = 1, 10

local methods = {}
local mt = { __name = "tidegate.mark", __index = methods }

--- @param name what makes the item unique in the process
-- @param max_fails, fail_timeout of the item itself; nil: those of the selector that asks; ≤ 0: 1 and 10 s
function M.new(name, max_fails, fail_timeout)
  return setmetatable({
    mark = shared.mark(key(name)),
    max_fails = max_fails and (max_fails > 0 and max_fails or MAX_FAILS),
    fail_timeout = fail_timeout and (fail_timeout > 0 and fail_timeout or FAIL_TIMEOUT),
  }, mt)
end

--- Note a failure.
function methods:fail()
  self.mark:fail()
end

--- Note a success.
function methods:ok()
  if self.mark:count() > 0 then
    self.mark:reset()
  end
end

--- @return whether the item is to be left alone for now; `selector` brings maxFails and failTimeout
function methods:failed(selector)
  if self.mark:count() == 0 then
    return false
  end
  return self.mark:failed(
    self.max_fails or selector and selector.max_fails or MAX_FAILS,
    self.fail_timeout or selector and selector.fail_timeout or FAIL_TIMEOUT
  )
end

return M
