-- Selectors: which one of several nodes (or chains, or hops) a connection takes.
--
-- An item is a table with `mark` (optional), `weight` (a number or nil) and `backup` (boolean); nodes also
-- have `health`, and `load` and `latency` where a strategy asks for them.  All of these, and the counter of
-- round robin, are one for all workers.

local crc32 = require "tidegate.chain.crc32"
local failure = require "tidegate.failure"
local key = require "tidegate.chain.key"
local race = require "tidegate.chain.race"
local shared = require "tidegate.native.shared"

local string_byte = string.byte

local M = {}

local seeded = false

-- A number from 0 up to, but not including, `limit`.
local function random(limit)
  if not seeded then
    seeded = true
    local file = io.open("/dev/urandom", "rb")
    local a, b, c = string_byte(file and file:read(3) or tostring(os.time()), 1, 3)
    math.randomseed(a + b * 256 + c * 65536)
    if file then
      file:close()
    end
  end
  return math.random() * limit
end

local strategies = {}

function strategies.round(self, items)
  return items[self.ticket:next() % #items + 1]
end

function strategies.rand(_, items)
  local sum = 0
  for i = 1, #items do
    sum = sum + (items[i].weight or 1)
  end
  local at = random(sum)
  for i = 1, #items do
    at = at - (items[i].weight or 1)
    if at < 0 then
      return items[i]
    end
  end
  return items[#items]
end

function strategies.fifo(_, items)
  return items[1]
end

function strategies.hash(_, items, ctx)
  local source = ctx and ctx.user
  if not source or source == "" then
    source = ctx and ctx.hash_source
  end
  if not source or source == "" then
    return items[math.floor(random(#items)) + 1]
  end
  return items[crc32(source) % #items + 1]
end

function strategies.parallel(_, items)
  return race.new(items)
end

-- The smallest latency of those whose last probe succeeded; without any, the first that has no result.
function strategies.lowestlatency(_, items)
  local best, least, first = nil, nil, nil
  for i = 1, #items do
    local latency = items[i].health:latency()
    if latency and (not least or latency < least) then
      best, least = items[i], latency
    elseif not latency then
      first = first or items[i]
    end
  end
  return best or first
end

-- Connections for each unit of weight, this one included.
local function pressure(item)
  return (item.load:get() + 1) / (item.weight or 1)
end

-- The item with the least cost; equals take turns.
local function cheapest(self, items, cost)
  local start = self.ticket:next() % #items
  local best, least
  for i = 1, #items do
    local item = items[(start + i - 1) % #items + 1]
    local value = cost(item)
    if not least or value < least then
      best, least = item, value
    end
  end
  return best
end

function strategies.leastconn(self, items)
  return cheapest(self, items, pressure)
end

function strategies.p2c(_, items)
  local i = math.floor(random(#items))
  local j = (i + 1 + math.floor(random(#items - 1))) % #items
  local a, b = items[i + 1], items[j + 1]
  return pressure(b) < pressure(a) and b or a
end

-- Nobody knows a node yet (0) that was not used lately: it is tried.
local function expected_wait(item)
  return item.latency:get() * pressure(item)
end

function strategies.ewma(self, items)
  return cheapest(self, items, expected_wait)
end

local ALIASES = { rr = "round", random = "rand", ha = "fifo", lowest = "lowestlatency", ll = "lowestlatency" }

-- Strategies for nodes alone: what has no probes and no connections of its own cannot be chosen so.
local FOR_NODES = { parallel = {}, lowestlatency = {}, leastconn = { load = true }, p2c = { load = true },
  ewma = { load = true, latency = true } }

--- Names and aliases of all strategies, for nodes.
M.NODE_STRATEGIES = {
  "round", "rr", "rand", "random", "fifo", "ha", "hash", "parallel", "lowestlatency", "lowest", "ll", "leastconn",
  "p2c", "ewma",
}
--- The same for chains and hops of a group.
M.GROUP_STRATEGIES = { "round", "rr", "rand", "random", "fifo", "ha", "hash" }

-- Drop items that failed lately; may leave none.
local function without_failed(self, items)
  local kept, dropped = nil, false
  for i = 1, #items do
    local item = items[i]
    if item.mark and item.mark:failed(self) then
      if not dropped then
        dropped, kept = true, {}
        for j = 1, i - 1 do
          kept[j] = items[j]
        end
      end
    elseif dropped then
      kept[#kept + 1] = item
    end
  end
  return kept or items
end

-- Drop backups, unless nothing else is there.
local function without_backups(items)
  local kept = {}
  for i = 1, #items do
    if not items[i].backup then
      kept[#kept + 1] = items[i]
    end
  end
  return #kept > 0 and #kept < #items and kept or items
end

-- Drop what the last probe found failed or slow, unless that leaves nothing: a slow way is better than
-- going around the hop.
local function without_slow(self, items)
  local kept = {}
  for i = 1, #items do
    local latency = items[i].health and items[i].health:latency()
    if latency == nil or latency and latency <= self.max_latency then
      kept[#kept + 1] = items[i]
    end
  end
  return #kept > 0 and kept or items
end

-- What the filters of scripts leave.  Nothing left is an error, not a reason to go around the hop.
local function filtered(self, items, ctx)
  for i = 1, #self.filters do
    items = self.filters[i](items, ctx)
    if type(items) ~= "table" or #items == 0 then
      return nil, failure.new("blocked", ("filter %q leaves nothing"):format(self.filter_names[i]))
    end
  end
  return items
end

local methods = {}
local mt = { __name = "tidegate.selector", __index = methods }

--- Pick one of several items.
-- @return an item, or nil when all have failed | nil, err
function methods:select(items, ctx)
  if #items > 1 then
    items = without_failed(self, items)
  end
  if #items > 1 then
    items = without_backups(items)
  end
  if #items > 1 and self.max_latency then
    items = without_slow(self, items)
  end
  if self.filters then
    local err
    items, err = filtered(self, items, ctx)
    if not items then
      return nil, err
    end
  end
  if #items <= 1 then
    return items[1]
  end
  return self.strategy(self, items, ctx)
end

local function positive(value)
  return value and value > 0 and value or nil
end

local function read_filters(names, known)
  local filters, kept = {}, {}
  for _, name in ipairs(names or {}) do
    if known and known[name] then
      filters[#filters + 1], kept[#kept + 1] = known[name], name
    end
  end
  if #filters > 0 then
    return filters, kept
  end
end

--- Make a selector.  Its `needs` says what its strategy looks at: { load, latency }.
-- @param config {strategy, maxFails, failTimeout, maxLatency (seconds), filters} or nil for round robin,
--   1, 10 s
-- @param name what makes the selector unique in the process
-- @param options nil or { strategies = those of scripts by name: function(items, ctx) → item, filters =
--   the same: function(items, ctx) → items, of_group = whether its items are chains or hops, not nodes }
function M.new(config, name, options)
  config, options = config or {}, options or {}
  local of_group, custom = options.of_group, options.strategies
  local strategy = config.strategy or "round"
  strategy = ALIASES[strategy] or strategy

  local scripted = custom and custom[strategy] -- a script's comes before ours
  local needs = not scripted and FOR_NODES[strategy] or nil
  local pick = not (of_group and needs) and strategies[strategy] or nil
  if scripted then
    pick = function(_, items, ctx)
      return scripted(items, ctx)
    end
  end
  local filters, filter_names = read_filters(config.filters, options.filters)
  return setmetatable({
    filters = filters,
    filter_names = filter_names,
    strategy = pick or strategies.round,
    ticket = shared.ticket("selector/" .. key(name)),
    needs = needs or {},
    max_fails = positive(config.maxFails) or 1,
    fail_timeout = positive(config.failTimeout) or 10,
    max_latency = not of_group and positive(config.maxLatency) or nil,
  }, mt)
end

return M
