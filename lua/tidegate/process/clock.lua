-- The wall clock, and how Go prints it.

local ffi = require "ffi"

require "tidegate.process.log.format" -- declares clock_gettime

local C = ffi.C
local CLOCK_REALTIME = 0
local time = ffi.new "struct tidegate_timespec"

local M = {}

--- @return seconds since 1970, and nanoseconds
function M.now()
  C.clock_gettime(CLOCK_REALTIME, time)
  return tonumber(time.sec), tonumber(time.nsec)
end

--- @return the moment `ago` seconds before now, as now()
function M.before(ago)
  local seconds, nanos = M.now()
  local whole = math.floor(ago)
  seconds, nanos = seconds - whole, nanos - math.floor((ago - whole) * 1e9 + 0.5)
  if nanos < 0 then
    seconds, nanos = seconds - 1, nanos + 1e9
  end
  return seconds, nanos
end

local function zone_of(seconds)
  local offset = os.date("%z", seconds)
  return offset == "+0000" and "Z" or offset:sub(1, 3) .. ":" .. offset:sub(4)
end

--- RFC 3339 in the local zone, with as many digits of the second as matter (Go's RFC3339Nano).
function M.rfc3339(seconds, nanos)
  local fraction = ("%09d"):format(nanos):gsub("0+$", "")
  return os.date("%Y-%m-%dT%H:%M:%S", seconds) .. (fraction ~= "" and "." .. fraction or "") .. zone_of(seconds)
end

return M
