-- Connection ids: 20 characters of 0-9a-v, as the xid library makes them: seconds, 5 bytes that tell
-- this VM from others, a counter.  In base 32 the first 70 bits change once a second only, and what comes
-- before the last six bits of the counter with every 64th id.

local bit = require "bit"
local uv = require "luv"

local band, bor, lshift, rshift = bit.band, bit.bor, bit.lshift, bit.rshift
local string_byte, string_sub = string.byte, string.sub
local time = os.time

local ALPHABET = "0123456789abcdefghijklmnopqrstuv"

local M = {}

-- Two characters for each number of 10 bits.
local pairs_of = {}
for i = 0, 1023 do
  local high, low = rshift(i, 5) + 1, band(i, 31) + 1
  pairs_of[i] = string_sub(ALPHABET, high, high) .. string_sub(ALPHABET, low, low)
end

local function random_bytes(count)
  return { string_byte(assert(uv.random(count)), 1, count) } -- needs no descriptor: they may have run out
end

local vm -- the 5 bytes
local counter
local second, prefix, rest
local head -- all but the last two characters

-- The end of an id, by the last six bits of the counter; four bits are left over.
local ends = {}
for i = 0, 63 do
  ends[i] = pairs_of[lshift(i, 4)]
end

-- The first 14 characters, from 9 bytes; 2 bits are left over.
local function begin(now)
  if not vm then
    local seed = random_bytes(8)
    vm = { seed[1], seed[2], seed[3], seed[4], seed[5] }
    counter = seed[6] * 65536 + seed[7] * 256 + seed[8]
  end
  local bytes = {
    band(rshift(now, 24), 255), band(rshift(now, 16), 255), band(rshift(now, 8), 255), band(now, 255),
    vm[1], vm[2], vm[3], vm[4], vm[5],
  }
  local out, bits, held = {}, 0, 0
  for i = 1, #bytes do
    bits = bor(lshift(bits, 8), bytes[i])
    held = held + 8
    while held >= 10 do
      held = held - 10
      out[#out + 1] = pairs_of[band(rshift(bits, held), 1023)]
      bits = band(bits, lshift(1, held) - 1)
    end
  end
  second, prefix, rest = now, table.concat(out), bits
end

-- Up to the last six bits of the counter.
local function continue()
  local tail = bor(lshift(rest, 28), lshift(counter, 4)) -- 2 + 24 + 4 bits
  head = prefix .. pairs_of[band(rshift(tail, 20), 1023)] .. pairs_of[band(rshift(tail, 10), 1023)]
end

--- @return a fresh id
function M.new()
  local now = time()
  local fresh = now ~= second
  if fresh then
    begin(now)
  end
  counter = band(counter + 1, 0xffffff)
  local last = band(counter, 63)
  if fresh or last == 0 then
    continue()
  end
  return head .. ends[last]
end

return M
