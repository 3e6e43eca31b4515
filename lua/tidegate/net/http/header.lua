-- Header fields a configuration names: how they are spelled, and which are free to be set.

local failure = require "tidegate.failure"

local M = {}

local function before(a, b)
  return a[1] < b[1]
end

--- "sec-websocket-key" → "Sec-Websocket-Key", as Go's net/http spells the names of a map.
function M.canonical(name)
  return (name:lower():gsub("^%l", string.upper):gsub("%-%l", string.upper))
end

--- Sort { name, value } pairs by name, in place.  @return the list
function M.sort(list)
  table.sort(list, before)
  return list
end

--- Look through a configured map of header fields.
-- @param own the names, in lower case, that the protocol writes itself: { name = true }
-- @return { name, value } pairs sorted by name | nil, err
function M.configured(map, own)
  local list = {}
  for name, value in pairs(map or {}) do
    name = M.canonical(tostring(name))
    if own[name:lower()] then
      return nil, failure.new("config", ("the header %s is not free to be set"):format(name))
    end
    list[#list + 1] = { name, tostring(value) }
  end
  return M.sort(list)
end

--- Take apart what a client's request says of itself.
-- @param list { name, value } pairs
-- @param host where the list names none
-- @return host, user agent, the other pairs (a new list)
function M.client(list, host)
  local agent, others = "Go-http-client/1.1", {}
  for _, field in ipairs(list) do
    if field[1] == "Host" then
      host = field[2]
    elseif field[1] == "User-Agent" then
      agent = field[2]
    else
      others[#others + 1] = field
    end
  end
  return host, agent, others
end

local date, date_at

--- @return the time, as HTTP says it
function M.date()
  local now = os.time()
  if now ~= date_at then
    date, date_at = os.date("!%a, %d %b %Y %H:%M:%S GMT", now), now
  end
  return date
end

return M
