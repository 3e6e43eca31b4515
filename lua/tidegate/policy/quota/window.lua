-- When a quota counts: moments as RFC 3339 writes them, and a span between two of them.
--
-- A moment is { seconds since 1970, nanoseconds }.

local uv = require "luv"

local M = {}

-- Days from 1970-01-01 to a date of the Gregorian calendar.
local function days(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  local before = 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return before + math.floor((153 * (month - 3) + 2) / 5) + day - 1 - 719468
end

local MONTH = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function offset_of(zone)
  if zone == "Z" or zone == "z" then
    return 0
  end
  local sign, hours, minutes = zone:match "^([+-])(%d%d):(%d%d)$"
  if not sign then
    return nil
  end
  local offset = tonumber(hours) * 3600 + tonumber(minutes) * 60
  return sign == "-" and -offset or offset
end

--- @return moment | nil when the text is none
function M.parse(text)
  local y, mo, d, h, mi, s, rest = text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt](%d%d):(%d%d):(%d%d)(.*)$"
  if not y then
    return nil
  end
  local fraction, zone = rest:match "^%.(%d+)(.+)$"
  local offset = offset_of(zone or rest)
  y, mo, d, h, mi, s = tonumber(y), tonumber(mo), tonumber(d), tonumber(h), tonumber(mi), tonumber(s)
  if not offset or not MONTH[mo] or d < 1 or d > MONTH[mo] or h > 23 or mi > 59 or s > 60 then
    return nil
  end
  local ns = tonumber(((fraction or "") .. "000000000"):sub(1, 9))
  return { days(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - offset, ns }
end

--- @return the present moment
function M.now()
  local seconds, us = uv.gettimeofday()
  return { seconds, us * 1000 }
end

local function before(a, b)
  return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
end

--- @return whether from ≤ now < to; both may be nil
function M.contains(from, to, now)
  return not (from and before(now, from)) and not (to and not before(now, to))
end

--- A moment in nanoseconds since 1970, as digits; nil is "0".
function M.digits(moment)
  if not moment then
    return "0"
  end
  local text = ("%d%09d"):format(moment[1], moment[2]):gsub("^0+", "")
  return text == "" and "0" or text
end

return M
