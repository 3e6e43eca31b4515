-- Host names hidden in a header, as gost v2 began it ("Gost-Target"):
-- base64url( CRC32(name) as 4 bytes, then base64url(name) ), both without padding.

local base64 = require "tidegate.net.http.base64"
local bit = require "bit"

local string_byte = string.byte
local string_char = string.char

local M = {}

local CRC32_POLYNOMIAL = bit.tobit(0xedb88320)

local function crc32(text)
  local crc = bit.bnot(0)
  for i = 1, #text do
    crc = bit.bxor(crc, string_byte(text, i))
    for _ = 1, 8 do
      local odd = bit.band(crc, 1) ~= 0
      crc = bit.rshift(crc, 1)
      crc = odd and bit.bxor(crc, CRC32_POLYNOMIAL) or crc
    end
  end
  crc = bit.bnot(crc)
  return string_char(bit.rshift(crc, 24), bit.band(bit.rshift(crc, 16), 255),
    bit.band(bit.rshift(crc, 8), 255), bit.band(crc, 255))
end

--- @return the encoded name
function M.encode(name)
  return base64.encode_url(crc32(name) .. base64.encode_url(name))
end

--- @return the name | nil when it is no such encoding or its checksum is wrong
function M.decode(text)
  local bytes = base64.decode_url(text)
  if not bytes or #bytes <= 4 then
    return nil
  end
  local name = base64.decode_url(bytes:sub(5))
  if not name or crc32(name) ~= bytes:sub(1, 4) then
    return nil
  end
  return name
end

return M
