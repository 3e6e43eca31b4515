-- Durations as gost writes them.  Inside tidegate a duration is a number of seconds.

local duration = {}

local UNITS = {
  ns = 1e-9,
  us = 1e-6,
  ["\194\181s"] = 1e-6, -- micro sign
  ["\206\188s"] = 1e-6, -- Greek mu
  ms = 1e-3,
  s = 1,
  m = 60,
  h = 3600,
}

--- Parse "1h30m", "-1.5s", "0".
-- @return seconds | nil, what is wrong
function duration.parse(text)
  local sign, rest = text:match("^([+-]?)(.*)$")
  if rest == "0" then
    return 0
  end
  if rest == "" then
    return nil, "is not a duration"
  end

  local total, at = 0, 1
  while at <= #rest do
    local number, unit, after = rest:match("^([%d.]+)([^%d.]*)()", at)
    local value = number and number ~= "." and tonumber(number)
    if not value then
      return nil, "is not a duration"
    end
    if unit == "" then
      return nil, "is a duration without a unit (ns, us, ms, s, m, h)"
    end
    if not UNITS[unit] then
      return nil, ("is a duration with the unknown unit %q"):format(unit)
    end
    total = total + value * UNITS[unit]
    at = after
  end
  return sign == "-" and -total or total
end

-- 1500 with 3 digits: "1.5"
local function fraction(value, digits)
  local text = ("%." .. digits .. "f"):format(value)
  return (text:gsub("0+$", ""):gsub("%.$", ""))
end

--- Write seconds the way Go prints a duration: "1m30s", "10ns", "0s".
function duration.format(seconds)
  local ns = math.floor(math.abs(seconds) * 1e9 + 0.5)
  local sign = seconds < 0 and "-" or ""
  if ns == 0 then
    return "0s"
  elseif ns < 1e3 then
    return ("%s%dns"):format(sign, ns)
  elseif ns < 1e6 then
    return sign .. fraction(ns / 1e3, 3) .. "\194\181s"
  elseif ns < 1e9 then
    return sign .. fraction(ns / 1e6, 6) .. "ms"
  end

  local minutes = math.floor(ns / 60e9)
  local out = sign
  if minutes >= 60 then
    out = out .. ("%dh"):format(math.floor(minutes / 60))
  end
  if minutes > 0 then
    out = out .. ("%dm"):format(minutes % 60)
  end
  return out .. fraction((ns - minutes * 60e9) / 1e9, 9) .. "s"
end

--- @return a duration as whole nanoseconds
function duration.nanoseconds(seconds)
  local ns = seconds * 1e9
  return ns < 0 and math.ceil(ns - 0.5) or math.floor(ns + 0.5)
end

return duration
