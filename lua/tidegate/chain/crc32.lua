-- CRC-32 as in IEEE 802.3: it decides where the strategy "hash" sends a text.

local bit = require "bit"

local band, bxor, rshift = bit.band, bit.bxor, bit.rshift
local string_byte = string.byte

local crc_table = {}
for i = 0, 255 do
  local value = i
  for _ = 1, 8 do
    value = bxor(rshift(value, 1), band(value, 1) == 1 and 0xedb88320 or 0)
  end
  crc_table[i] = value
end

--- @return the checksum of a text, from 0 to 2^32 - 1
return function(text)
  local crc = -1
  for i = 1, #text do
    crc = bxor(rshift(crc, 8), crc_table[band(bxor(crc, string_byte(text, i)), 255)])
  end
  return bxor(crc, -1) % 2 ^ 32
end
