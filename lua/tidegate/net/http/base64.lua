-- Base64 (RFC 4648) for the short strings of HTTP heads: credentials, encoded host names.

local string_byte = string.byte
local string_char = string.char
local table_concat = table.concat

local base64 = {}

local function alphabet(last_two)
  local encode, decode = {}, {}
  local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" .. last_two
  for i = 1, 64 do
    encode[i - 1] = letters:sub(i, i)
    decode[string_byte(letters, i)] = i - 1
  end
  return { encode = encode, decode = decode }
end

local STANDARD = alphabet("+/")
local URL = alphabet("-_")

local function encode(bytes, letters)
  local out, n = {}, 0
  for i = 1, #bytes, 3 do
    local a, b, c = string_byte(bytes, i, i + 2)
    local word = a * 65536 + (b or 0) * 256 + (c or 0)
    out[n + 1] = letters[math.floor(word / 262144)]
    out[n + 2] = letters[math.floor(word / 4096) % 64]
    out[n + 3] = b and letters[math.floor(word / 64) % 64] or ""
    out[n + 4] = c and letters[word % 64] or ""
    n = n + 4
  end
  return table_concat(out)
end

-- @return the bytes | nil when a letter is foreign or the length impossible
local function decode(text, letters)
  if #text % 4 == 1 then
    return nil
  end
  local out, n = {}, 0
  for i = 1, #text, 4 do
    local a, b, c, d = string_byte(text, i, i + 3)
    local bits_a, bits_b = letters[a], letters[b]
    local bits_c, bits_d = c and letters[c] or not c and 0, d and letters[d] or not d and 0
    if not (bits_a and bits_b and bits_c and bits_d) then
      return nil
    end
    local word = bits_a * 262144 + bits_b * 4096 + bits_c * 64 + bits_d
    n = n + 1
    if d then
      out[n] = string_char(math.floor(word / 65536), math.floor(word / 256) % 256, word % 256)
    elseif c then
      out[n] = string_char(math.floor(word / 65536), math.floor(word / 256) % 256)
    else
      out[n] = string_char(math.floor(word / 65536))
    end
  end
  return table_concat(out)
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
