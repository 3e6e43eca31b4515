-- Whether something outside works, known to all threads: one line in the log when that changes, not one
-- per worker or attempt.

local shared = require "tidegate.native.shared"

local M = {}
local methods = {}
local mt = { __name = "tidegate.health", __index = methods }

local states = shared.dict "tidegate.health"

--- @param name what is watched, "recorder/x": the same in all threads
-- @param what how lines in the log begin: "recorder x"
-- @param log the logger
function M.new(name, what, log)
  return setmetatable({ name = name, what = what, log = log }, mt)
end

--- It failed.  @param note what that means for now, or nil
function methods:bad(err, note)
  local count = states:incr(self.name)
  if count == 1 then
    self.log:warn(("%s: %s%s"):format(self.what, tostring(err), note and "; " .. note or ""))
  end
end

--- It worked.  @param note function() → what to say about the time between, or nil
function methods:good(note)
  if states:get(self.name) and states:delete(self.name) then
    local text = note and note()
    self.log:info(("%s: works again%s"):format(self.what, text and ", " .. text or ""))
  end
end

--- @return whether it is known to fail
function methods:failing()
  return states:get(self.name) ~= nil
end

return M
