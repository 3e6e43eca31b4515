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

local stamped, stamp, zone -- the second last written, its text, the zone's text

--- RFC 3339 in the local zone, with as many digits of the second as matter (Go's RFC3339Nano).
function M.rfc3339(seconds, nanos)
  if seconds ~= stamped then
    stamped, stamp, zone = seconds, os.date("%Y-%m-%dT%H:%M:%S", seconds), zone_of(seconds)
  end
  local fraction = ("%09d"):format(nanos):gsub("0+$", "")
  return stamp .. (fraction ~= "" and "." .. fraction or "") .. zone
end

-- The words of Go's layouts, the longest first where one begins another; strftime's, or a function.
local WORDS = {
  { "January", "%B" }, { "Jan", "%b" }, { "Monday", "%A" }, { "Mon", "%a" }, { "MST", "%Z" }, { "2006", "%Y" },
  { "-07:00", zone = "%s:%s" }, { "-0700", "%z" }, { "Z07:00", zone = "Z" }, { "-07", zone = "%s" }, { "01", "%m" },
  { "002", "%j" }, { "02", "%d" }, { "03", "%I" }, { "04", "%M" }, { "05", "%S" }, { "06", "%y" }, { "15", "%H" },
  { "PM", "%p" }, { "_2", "%e" }, { "1", "%m", bare = true }, { "2", "%d", bare = true }, { "3", "%I", bare = true },
  { "4", "%M", bare = true }, { "5", "%S", bare = true },
}

local function zone_text(form, seconds)
  local offset = os.date("%z", seconds)
  if form == "Z" then
    return zone_of(seconds)
  end
  return form:format(offset:sub(1, 3), offset:sub(4))
end

-- The fraction of a second: ".000" keeps its digits, ".999" drops zeros at the end.
local function fraction_text(mark, digits, nanos)
  local text = ("%09d"):format(nanos):sub(1, #digits)
  if digits:sub(1, 1) == "9" then
    text = text:gsub("0+$", "")
  end
  return text ~= "" and mark .. text or ""
end

local function word_at(layout, at)
  for _, word in ipairs(WORDS) do
    if layout:sub(at, at + #word[1] - 1) == word[1] then
      return word
    end
  end
end

--- A moment by one of Go's layouts ("2006-01-02 15:04:05.000"), in the local zone.
function M.format(layout, seconds, nanos)
  local out, at = {}, 1
  while at <= #layout do
    local mark, digits = layout:match("^([.,])(0+)", at)
    if not mark then
      mark, digits = layout:match("^([.,])(9+)", at)
    end
    local word = word_at(layout, at)
    if mark and not layout:find("^%d", at + 1 + #digits) then
      out[#out + 1] = fraction_text(mark, digits, nanos)
      at = at + 1 + #digits
    elseif word then
      local text = word.zone and zone_text(word.zone, seconds) or os.date(word[2], seconds)
      out[#out + 1] = word.bare and text:gsub("^0", "") or text
      at = at + #word[1]
    else
      out[#out + 1] = layout:sub(at, at)
      at = at + 1
    end
  end
  return table.concat(out)
end

return M
