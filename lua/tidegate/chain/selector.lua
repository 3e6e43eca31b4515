-- Selectors: which one of several nodes (or chains) a connection takes.
--
-- An item is a table with `mark` (optional), `weight` (a number or nil) and `backup` (boolean).  What is
-- one for all workers, the counter of round robin, is a shared ticket.

local bit = require "bit"
local shared = require "tidegate.native.shared"

local band, bxor, rshift = bit.band, bit.bxor, bit.rshift
local string_byte = string.byte

local M = {}

-- CRC-32 as in IEEE 802.3.
local crc_table = {}
for i = 0, 255 do
  local value = i
  for _ = 1, 8 do
    value = bxor(rshift(value, 1), band(value, 1) == 1 and 0xedb88320 or 0)
  end
  crc_table[i] = value
end

--- @return the checksum that decides where the strategy "hash" sends a text
function M.crc32(text)
  local crc = -1
  for i = 1, #text do
    crc = bxor(rshift(crc, 8), crc_table[band(bxor(crc, string_byte(text, i)), 255)])
  end
  return bxor(crc, -1) % 2 ^ 32
end

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
  return items[M.crc32(source) % #items + 1]
end

local ALIASES = { rr = "round", random = "rand", ha = "fifo" }

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

local methods = {}
local mt = { __name = "tidegate.selector", __index = methods }

--- Pick one of several items.
-- @return an item, or nil when all have failed
function methods:select(items, ctx)
  if #items > 1 then
    items = without_failed(self, items)
  end
  if #items > 1 then
    items = without_backups(items)
  end
  if #items <= 1 then
    return items[1]
  end
  return self.strategy(self, items, ctx)
end

--- @param config {strategy, maxFails, failTimeout (seconds)} or nil for round robin, 1, 10 s
-- @param name what makes the selector unique in the process
-- @param custom strategies by name, those of scripts: function(items, ctx) → item
function M.new(config, name, custom)
  config = config or {}
  local strategy = config.strategy or "round"
  strategy = ALIASES[strategy] or strategy

  local pick = strategies[strategy]
  local scripted = not pick and custom and custom[strategy]
  if scripted then
    pick = function(_, items, ctx)
      return scripted(items, ctx)
    end
  end
  return setmetatable({
    strategy = pick or strategies.round,
    ticket = shared.ticket("selector/" .. name),
    max_fails = config.maxFails and config.maxFails > 0 and config.maxFails or 1,
    fail_timeout = config.failTimeout and config.failTimeout > 0 and config.failTimeout or 10,
  }, mt)
end

return M
