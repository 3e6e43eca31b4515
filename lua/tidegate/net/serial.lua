-- Serial ports: their addresses, and opening them.

local device = require "tidegate.native.device"
local failure = require "tidegate.failure"
require "tidegate.native.stream" -- what a stream can do

local M = {}

local BAUD, BAUD_MAX = 9600, 20000000

local PARITIES = {
  [""] = "none", n = "none", none = "none", o = "odd", odd = "odd", e = "even", even = "even",
  m = "mark", mark = "mark", s = "space", space = "space",
}

local function invalid(address, message)
  return nil, failure.new("config", ("%s in %q: write DEVICE[,BAUD[,PARITY]], as /dev/ttyUSB0,9600,odd"):format(
    message, address))
end

--- Read "NAME[,BAUD[,PARITY]]"; a name without a slash is one of /dev.
-- @return { path, baud, parity = "none", "odd", "even", "mark" or "space" } | nil, err
function M.parse(address)
  local name, rest = address:match "^([^,]*),?(.*)$"
  local baud, parity = rest:match "^([^,]*),?(.*)$"
  if name == "" then
    return invalid(address, "no device is named")
  elseif name:find "[%z\1-\31]" then
    return invalid(address, "the device has a strange name")
  end
  local rate = baud == "" and BAUD or baud:find "^%d+$" and tonumber(baud) or 0
  if rate < 1 or rate > BAUD_MAX then
    return invalid(address, ("%q is no baud rate"):format(baud))
  end
  local word = PARITIES[parity:lower()]
  if not word then
    return invalid(address, ("%q is no parity (odd, even, mark, space, none)"):format(parity))
  end
  return { path = name:find("/", 1, true) and name or "/dev/" .. name, baud = rate, parity = word }
end

-- What to do about it, by the code of the error.
local ADVICE = {
  refused = "there is no such device; is it plugged in?",
  denied = "tidegate may not open it; its user needs the group of the device (often dialout)",
}

--- Open a port.
-- @param address see M.parse()
-- @param options nil or { silence = ms without input that end the stream }
-- @param closed nil or a function, which runs in a task when the stream is gone
-- @return stream, handle with cut(): ends it wherever it is | nil, err
function M.open(address, options, closed)
  local line, err = M.parse(address)
  if not line then
    return nil, err
  end
  line.silence = options and options.silence
  local stream, handle = device.serial(line, closed)
  if stream then
    return stream, handle
  end
  local advice = ADVICE[handle.code]
  return nil, failure.new(handle.code, advice and ("%s: %s"):format(tostring(handle), advice) or tostring(handle),
    { addr = line.path })
end

return M
