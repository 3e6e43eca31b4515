-- What a request says about the file it wants: conditions (RFC 9110 13) and ranges (14).

local head = require "tidegate.net.http.head"

local M = {}

local MONTHS = {}
for i, name in ipairs { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" } do
  MONTHS[name] = i
end

-- Days from 1970-01-01 to a date of the Gregorian calendar.
local function days(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

--- A moment (s since 1970) as HTTP writes it.
function M.date(moment)
  return os.date("!%a, %d %b %Y %H:%M:%S GMT", moment)
end

--- Read a date.  @return s since 1970 | nil
function M.moment(text)
  local day, month, year, hour, minute, second = text:match "^%a+, (%d+) (%a+) (%d%d%d%d) (%d+):(%d+):(%d+) GMT$"
  month = MONTHS[month]
  if not month then
    return nil
  end
  return days(tonumber(year), month, tonumber(day)) * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60
    + tonumber(second)
end

-- Is the tag among those of a list?  Weak ones count where `weak` is allowed.
local function lists(value, tag, weak)
  if value:match "^%s*%*%s*$" then
    return true
  end
  for prefix, one in value:gmatch '(W?/?)("[^"]*")' do
    if one == tag and (prefix == "" or weak) then
      return true
    end
  end
  return false
end

--- What the conditions of a request come to.
-- @param file { tag =, mtime = }
-- @return nil: go on, or the status that answers it: 304 or 412
function M.check(request, file)
  local value = head.get(request, "if-match")
  if value then
    if not lists(value, file.tag) then
      return 412
    end
  else
    local moment = M.moment(head.get(request, "if-unmodified-since") or "")
    if moment and file.mtime > moment then
      return 412
    end
  end
  value = head.get(request, "if-none-match")
  if value then
    return lists(value, file.tag, true) and 304 or nil
  end
  local moment = M.moment(head.get(request, "if-modified-since") or "")
  return moment and file.mtime <= moment and 304 or nil
end

local function applies(request, file)
  local value = head.get(request, "if-range")
  if not value then
    return true
  elseif value:sub(1, 1) == '"' then
    return value == file.tag
  end
  return M.moment(value) == file.mtime
end

--- The range a request asks for; several at once are answered with the whole file.
-- @return first, last byte; nothing: the whole file; false: there is no such part
function M.range(request, file)
  local value = head.get(request, "range")
  local from, to = (value or ""):match "^bytes=%s*(%d*)%s*%-%s*(%d*)%s*$"
  if not from or from == "" and to == "" or #from > 15 or #to > 15 or not applies(request, file) then
    return nil
  end
  from, to = tonumber(from), tonumber(to)
  if not from then
    if to == 0 or file.size == 0 then
      return false
    end
    return math.max(file.size - to, 0), file.size - 1
  elseif to and to < from then
    return nil
  elseif from >= file.size then
    return false
  end
  return from, math.min(to or file.size - 1, file.size - 1)
end

return M
