-- UTF-8 (RFC 3629) where text names characters by their numbers: the escapes of JSON and of rules.

local M = {}

--- The bytes of a character.
-- @param code its number, 0 to 0x10ffff; not looked at further
function M.encode(code)
  if code < 0x80 then
    return string.char(code)
  elseif code < 0x800 then
    return string.char(0xc0 + math.floor(code / 64), 0x80 + code % 64)
  elseif code < 0x10000 then
    return string.char(0xe0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
  end
  return string.char(0xf0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64,
    0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
end

--- The bytes of a character that UTF-16 writes as two.
-- @param high, low the surrogates, 0xd800 to 0xdbff and 0xdc00 to 0xdfff
function M.pair(high, low)
  return M.encode(0x10000 + (high - 0xd800) * 0x400 + low - 0xdc00)
end

return M
