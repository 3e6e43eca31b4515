-- Base64 (RFC 4648): credentials and encoded host names in HTTP heads, bytes in JSON.

local bit = require "bit"
local ffi = require "ffi"

local band, lshift, rshift = bit.band, bit.lshift, bit.rshift
local BYTES = ffi.typeof "uint8_t[?]"
local SOURCE = ffi.typeof "const uint8_t *"
local FOREIGN = 255

local base64 = {}

local function alphabet(last_two)
  local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" .. last_two
  local made = { encode = BYTES(64), decode = BYTES(256) }
  ffi.fill(made.decode, 256, FOREIGN)
  for i = 0, 63 do
    local letter = letters:byte(i + 1)
    made.encode[i], made.decode[letter] = letter, i
  end
  return made
end

local STANDARD = alphabet("+/")
local URL = alphabet("-_")

local function encode(bytes, letters)
  local size = #bytes
  local source, out, n = ffi.cast(SOURCE, bytes), BYTES(math.ceil(size / 3) * 4), 0
  for i = 0, size - 1, 3 do
    local b = i + 1 < size and source[i + 1] or 0
    local c = i + 2 < size and source[i + 2] or 0
    local word = source[i] * 65536 + b * 256 + c
    out[n] = letters[rshift(word, 18)]
    out[n + 1] = letters[band(rshift(word, 12), 63)]
    out[n + 2] = letters[band(rshift(word, 6), 63)]
    out[n + 3] = letters[band(word, 63)]
    n = n + 4
  end
  return ffi.string(out, math.ceil(size * 4 / 3))
end

-- @return the bytes | nil when a letter is foreign or the length impossible
local function decode(text, letters)
  local size = #text
  if size % 4 == 1 then
    return nil
  end
  local source, out, n = ffi.cast(SOURCE, text), BYTES(size), 0
  local word, bits = 0, 0
  for i = 0, size - 1 do
    local value = letters[source[i]]
    if value == FOREIGN then
      return nil
    end
    word, bits = band(lshift(word, 6) + value, 0xffff), bits + 6
    if bits >= 8 then
      bits = bits - 8
      out[n] = band(rshift(word, bits), 255)
      n = n + 1
    end
  end
  return ffi.string(out, n)
end

--- Encode with the standard alphabet and padding.
function base64.encode(bytes)
  return encode(bytes, STANDARD.encode) .. ("="):rep(-#bytes % 3)
end

--- Decode the standard alphabet; padding is required, as in RFC 4648.
-- @return the bytes | nil
function base64.decode(text)
  if #text % 4 ~= 0 then
    return nil
  end
  local bare = text:gsub("==?$", "", 1)
  return decode(bare, STANDARD.decode)
end

--- Encode with the alphabet for names and without padding.
function base64.encode_url(bytes)
  return encode(bytes, URL.encode)
end

--- @return the bytes | nil
function base64.decode_url(text)
  return decode(text, URL.decode)
end

return base64
