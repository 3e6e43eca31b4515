-- The connections of a worker in an order: which moved most, which are the oldest.
--
-- How fast one goes is known from the looks before: two pictures of all counts are kept, the older of
-- which is at least half a second old, so that it does not matter how many are looking.

local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __index = methods }

local ROTATE_MS = 500
local STALE_MS = 10000 -- a picture this old says nothing of now

--- The orders there are: name → what an item has most of, when it comes first.
M.ORDERS = {
  bytes = function(item)
    return item.inputBytes + item.outputBytes
  end,
  input = function(item)
    return item.inputBytes
  end,
  output = function(item)
    return item.outputBytes
  end,
  rate = function(item)
    return item.inputRate + item.outputRate
  end,
  age = function(item)
    return item.age
  end,
}

local MEASURES = {
  bytes = function(up, down)
    return up + down
  end,
  input = function(up)
    return up
  end,
  output = function(_, down)
    return down
  end,
  rate = function(_, _, _, up_rate, down_rate)
    return up_rate + down_rate
  end,
  age = function(_, _, seconds)
    return seconds
  end,
}

local older, newer -- { at (ms), up = key → bytes, down = key → bytes }

local function picture()
  return { at = task.now(), up = {}, down = {} }
end

--- @param sort bytes, input, output, rate or age
-- @param limit how many are wanted
function M.new(sort, limit)
  local now = picture()
  local since = newer and now.at - newer.at or 0
  if since >= ROTATE_MS then
    older, newer = since < STALE_MS and newer or nil, nil
  end
  return setmetatable({ measure = MEASURES[sort], limit = limit, now = now, rows = {} }, mt)
end

-- Bytes a second since the older picture; of what it does not show, since its beginning.
local function rate(before, bytes, seconds, elapsed)
  if before then
    return math.max(bytes - before, 0) / elapsed
  end
  return seconds > 0 and seconds < elapsed and bytes / elapsed or 0
end

local function by_value(a, b)
  return a.value > b.value
end

-- Rows beyond twice the limit are thrown away together: sorting them one by one would cost more.
local function trim(self)
  table.sort(self.rows, by_value)
  for i = #self.rows, self.limit + 1, -1 do
    self.rows[i] = nil
  end
  self.least = #self.rows >= self.limit and self.rows[self.limit] and self.rows[self.limit].value or nil
end

--- One more connection.
-- @param key what it is known by at the next look, or nil
-- @param make function(argument, at) → its item, called once it is known to be wanted; false for one that is
--   only to be remembered
function methods:add(key, up, down, seconds, make, argument, at)
  local up_rate, down_rate = 0, 0
  if key then
    self.now.up[key], self.now.down[key] = up, down
    if older then
      local elapsed = (self.now.at - older.at) / 1000
      up_rate = rate(older.up[key], up, seconds, elapsed)
      down_rate = rate(older.down[key], down, seconds, elapsed)
    end
  end
  local value = self.measure(up, down, seconds, up_rate, down_rate)
  if make and not (self.least and value <= self.least) then
    self.rows[#self.rows + 1] = {
      value = value, make = make, argument = argument, at = at, up_rate = up_rate, down_rate = down_rate,
    }
    if #self.rows >= 2 * self.limit then
      trim(self)
    end
  end
end

--- @return the items, the first one first
function methods:finish()
  trim(self)
  newer = newer or self.now
  local items = {}
  for i, row in ipairs(self.rows) do
    local item = row.make(row.argument, row.at)
    item.inputRate, item.outputRate = row.up_rate, row.down_rate
    items[i] = item
  end
  return items
end

--- Put the items of several workers into one order, and leave out all but some.
function M.merge(sort, items, skip, limit)
  local order, out = M.ORDERS[sort], {}
  table.sort(items, function(a, b)
    local first, second = order(a), order(b)
    if first == second then
      return (a.sid or "") < (b.sid or "")
    end
    return first > second
  end)
  for i = skip + 1, math.min(skip + limit, #items) do
    out[#out + 1] = items[i]
  end
  return out
end

return M
