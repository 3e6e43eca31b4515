-- What the last probe of something found, for all workers: nothing yet, a failure, or how long it took.

local key = require "tidegate.chain.key"
local shared = require "tidegate.native.shared"

local M = {}

local FAILED = -1 -- otherwise microseconds, and 0 while there is no result

local methods = {}
local mt = { __name = "tidegate.health", __index = methods }

--- @param name what makes the thing unique in the process
function M.new(name)
  return setmetatable({ counter = shared.counter("health/" .. key(name)) }, mt)
end

--- Note a result: the latency in seconds, or nil for a failure.  One task of the process does this.
function methods:note(latency)
  local value = latency and math.max(math.floor(latency * 1e6), 1) or FAILED
  self.counter:add(value - self.counter:get())
end

--- @return seconds, false after a failure, nil before the first result
function methods:latency()
  local value = self.counter:get()
  if value == 0 then
    return nil
  end
  return value > 0 and value / 1e6
end

return M
