-- Log lines in gost's two forms: JSON, and key=value text as Go's slog writes it.

local ffi = require "ffi"
local duration = require "tidegate.config.duration"
local native = require "tidegate.native.logline"

local string_format = string.format
local floor = math.floor

local M = {}

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = tostring(key)
  end
  table.sort(keys)
  return keys
end

-- What C writes by itself.
local PLAIN = { string = true, boolean = true, number = true }

-- The JSON text of any value.
local function json_text(value)
  if type(value) ~= "table" or getmetatable(value) then
    local plain = PLAIN[type(value)] and value or tostring(value)
    return native.fields("json", { "", plain }):sub(5) -- without ,"":
  end
  local out = {}
  if value[1] ~= nil then
    for i = 1, #value do
      out[i] = json_text(value[i])
    end
    return "[" .. table.concat(out, ",") .. "]"
  end
  for i, name in ipairs(sorted_keys(value)) do
    out[i] = json_text(name) .. ":" .. json_text(value[name])
  end
  return "{" .. table.concat(out, ",") .. "}"
end

-- As Go prints maps and slices.
local function go_text(value)
  local out = {}
  if value[1] ~= nil then
    for i = 1, #value do
      out[i] = tostring(value[i])
    end
    return "[" .. table.concat(out, " ") .. "]"
  end
  for i, name in ipairs(sorted_keys(value)) do
    out[i] = name .. ":" .. tostring(value[name])
  end
  return "map[" .. table.concat(out, " ") .. "]"
end

-- What C is to write for a value; a table holds text to be taken as it is.
local function convert(form, key, value)
  if type(value) == "table" and not getmetatable(value) then
    return form == "json" and { json_text(value) } or go_text(value)
  elseif form == "text" and key == "duration" and type(value) == "number" then
    return duration.format(value)
  end
  return PLAIN[type(value)] and value or tostring(value)
end

-- The list with every value converted; itself when all are plain.
local function prepared(form, list)
  for i = 2, #list, 2 do
    if not PLAIN[type(list[i])] or form == "text" and list[i - 1] == "duration" then
      local out = {}
      for j = 1, #list, 2 do
        if list[j + 1] ~= nil then
          out[#out + 1], out[#out + 2] = list[j], convert(form, list[j], list[j + 1])
        end
      end
      return out
    end
  end
  return list
end

--- Write fields, so that lines are made by joining them.
-- @param form "json" or "text"
-- @param list key, value, key, value …; what is called "duration" is seconds here, nanoseconds in
--   JSON, "1.5s" in text
function M.fields(form, list)
  return native.fields(form, prepared(form, list))
end

--- Write a line: `before` and `after` are fields written already, `list` others.
function M.line(form, time, level, message, before, list, after)
  return native.line(form, time, level, message, before, list and prepared(form, list), after)
end

ffi.cdef [[
struct tidegate_timespec { long sec; long nsec; };
int clock_gettime(int id, struct tidegate_timespec *t);
]]

local C = ffi.C
local clock = ffi.new "struct tidegate_timespec"
local CLOCK_REALTIME = 0

local stamped, stamp, zone -- the second last written, its text, the zone's text

--- @return the time in RFC 3339 with milliseconds, local zone
function M.time()
  C.clock_gettime(CLOCK_REALTIME, clock)
  local second = tonumber(clock.sec)
  if second ~= stamped then
    stamped = second
    stamp = os.date("%Y-%m-%dT%H:%M:%S.", second)
    local offset = os.date("%z", second)
    zone = offset == "+0000" and "Z" or offset:sub(1, 3) .. ":" .. offset:sub(4)
  end
  return stamp .. string_format("%03d", floor(tonumber(clock.nsec) / 1e6)) .. zone
end

return M
