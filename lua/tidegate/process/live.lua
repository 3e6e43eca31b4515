-- The connections of this worker: which there are now, ending one, and telling who listens when they
-- come and go.
--
-- Most of them are relays and live in C, where the tag says what they are; the others are in the hands
-- of a handler.  Nothing here costs anything until live.watch(true).

local message = require "tidegate.process.message"
local packet = require "tidegate.native.packet"
local ranking = require "tidegate.process.ranking"
local record = require "tidegate.process.record"
local relay = require "tidegate.native.relay"
local task = require "tidegate.native.task"

local M = {}

local CHUNK = 256 -- connections looked at before others get a turn
local BREATH = 0.001 -- seconds
local PAGE_MAX = 1000
local GATHER = 0.05 -- seconds that news may wait
local NEWS_MAX = 1000 -- told at once; what is more is lost, and counted

local watching = false
local running = {} -- contexts that a handler has in its hands
local listening = false
local news, lost = {}, 0

--- Know the connections from now on, or no more.
function M.watch(on)
  watching = on
  if not on then
    running = {}
  end
end

local function tell()
  task.sleep(GATHER)
  local list, missing = news, lost
  news, lost = {}, 0
  message.send(0, { type = "happened", list = list, lost = missing })
end

--- Tell the control thread what happens from now on, or no more.
function M.listen(on)
  listening = on
end

--- Something happened that listeners are told.
-- @param kind "open", "close" or "log"
function M.happened(kind, data)
  if not listening then
    return
  elseif #news >= NEWS_MAX then
    lost = lost + 1
    return
  end
  news[#news + 1] = { kind, data }
  if #news == 1 then
    task.spawn(tell)
  end
end

local function text_of(ctx)
  return {
    sid = ctx.sid,
    service = ctx.service.name,
    client = ctx.client,
    remote = ctx.remote,
    ["local"] = ctx.local_address,
    user = rawget(ctx, "user") or nil,
    network = rawget(ctx, "network"),
    host = rawget(ctx, "target"),
    route = ctx.route,
    dst = rawget(ctx, "upstream"),
  }
end

--- A handler has taken a connection over.
function M.began(ctx)
  if watching then
    running[ctx] = true
    if listening then
      M.happened("open", text_of(ctx))
    end
  end
end

--- It has let go of it: a relay goes on, or the connection is over.
function M.left(ctx)
  if watching then
    running[ctx] = nil
  end
end

record.on_end(function(ctx, result)
  if listening and rawget(ctx, "handled") then
    local text = text_of(ctx)
    text.inputBytes, text.outputBytes, text.duration = result.up, result.down, result.duration
    text.err = result.err and result.err.code ~= "eof" and tostring(result.err) or nil
    M.happened("close", text)
  end
end)

-- Looking ----------------------------------------------------------------------------------------

local function counts_of(ctx)
  local stream = rawget(ctx, "stream")
  local up, down
  if stream and stream.counts then
    up, down = stream:counts()
  end
  return up or 0, down or 0
end

local function item_of_context(ctx)
  local item = text_of(ctx)
  item.inputBytes, item.outputBytes = counts_of(ctx)
  item.age = (task.now() - ctx.started) / 1000
  item.state = "handler"
  return item
end

local function item_of_relay(list, at)
  local fields, up, down = nil, 0, 0
  if list[at] then
    fields, up, down = record.peek(list[at])
  end
  local item = fields and text_of(fields) or {}
  item.inputBytes, item.outputBytes = up + list[at + 1], down + list[at + 2]
  item.age = fields and (task.now() - fields.started) / 1000 or list[at + 3] / 1000
  item.state = "relay"
  return item
end

local function holds(text, part)
  return text ~= nil and text:lower():find(part:lower(), 1, true) ~= nil
end

local function passes(item, filter)
  return (not filter.service or item.service == filter.service)
    and (not filter.user or item.user == filter.user)
    and (not filter.client or holds(item.client, filter.client))
    and (not filter.host or holds(item.host, filter.host) or holds(item.dst, filter.host))
end

local function contexts()
  local list = {}
  for ctx in pairs(running) do
    list[#list + 1] = ctx
  end
  table.sort(list, function(a, b)
    return a.started > b.started
  end)
  return list
end

-- Pages of what nobody asks questions about: only what is shown is looked at.
local function page(skip, limit)
  local all, items = contexts(), {}
  for i = skip + 1, math.min(skip + limit, #all) do
    items[#items + 1] = item_of_context(all[i])
  end
  local before = #all
  for _, kind in ipairs { relay, packet } do
    local from = math.max(skip - before, 0)
    local list = #items < limit and kind.list(from, limit - #items) or {}
    for at = 1, #list, 4 do
      items[#items + 1] = item_of_relay(list, at)
    end
    before = before + kind.count()
  end
  return { total = before, items = items }
end

-- All of them, some at a time.
-- @param look function(make, argument, at, up, down, seconds), where make(argument, at) is the connection's item
local function each(look)
  for i, ctx in ipairs(contexts()) do
    local up, down = counts_of(ctx)
    look(item_of_context, ctx, 0, up, down, (task.now() - ctx.started) / 1000)
    if i % CHUNK == 0 then
      task.sleep(BREATH)
    end
  end
  for _, kind in ipairs { relay, packet } do
    local from = 0
    repeat
      local list = kind.list(from, CHUNK)
      for at = 1, #list, 4 do
        look(item_of_relay, list, at, list[at + 1], list[at + 2], list[at + 3] / 1000)
      end
      from = from + CHUNK
      if #list == 4 * CHUNK then
        task.sleep(BREATH)
      end
    until #list < 4 * CHUNK
  end
end

-- With questions, all are looked at.
local function search(filter, skip, limit)
  local total, items = 0, {}
  each(function(make, argument, at)
    local item = make(argument, at)
    if passes(item, filter) then
      total = total + 1
      items[#items + 1] = total > skip and #items < limit and item or nil
    end
  end)
  return { total = total, items = items }
end

local function itself(item)
  return item
end

--- The connections that are first in an order.
-- @param sort see tidegate.process.ranking
-- @param filter as for list()
-- @return { total, items }, the first one first; each item has inputRate and outputRate (bytes a second)
function M.top(sort, filter, limit)
  local all = next(filter) == nil
  local total, rank = 0, ranking.new(sort, math.min(limit, PAGE_MAX))
  each(function(make, argument, at, up, down, seconds)
    local key = at == 0 and argument or argument[at] or nil
    if not all then
      local item = make(argument, at)
      make, argument = passes(item, filter) and itself, item
    end
    total = total + (make and 1 or 0)
    rank:add(key, up, down, seconds, make, argument, at)
  end)
  return { total = total, items = rank:finish() }
end

--- Connections of this worker: those in a handler's hands, then relays, the youngest of each first.  A
-- page is the picture of a moment; what comes and goes meanwhile may be missed or met twice.
-- @param filter {} or { service, user = exactly; client, host = parts of them }
-- @return { total, items }
function M.list(filter, skip, limit)
  limit = math.min(limit, PAGE_MAX)
  if next(filter) == nil then
    return page(skip, limit)
  end
  return search(filter, skip, limit)
end

--- End a connection.  @return whether there is such a one here
function M.cut(sid)
  for ctx in pairs(running) do
    if rawget(ctx, "sid") == sid then
      local stream = rawget(ctx, "stream")
      if stream then
        stream:close()
      end
      return true
    end
  end
  for _, kind in ipairs { relay, packet } do
    local list = kind.list()
    for at = 1, #list, 4 do
      local tag = list[at]
      local fields = tag and tag:find(sid, 1, true) and record.peek(tag)
      if fields and fields.sid == sid then
        return kind.cut(tag)
      end
    end
  end
  return false
end

return M
