-- Protocol Buffers (proto3) for small messages, by tables of fields:
--
--   local Person = { { 1, "name", "string" }, { 2, "age", "int64" }, { 3, "tags", "string", repeated = true },
--     { 4, "home", "message", of = Address } }
--   local bytes = protobuf.encode(Person, { name = "Ann", tags = { "a", "b" } })
--   local person, err = protobuf.decode(Person, bytes)
--
-- Types are string, bytes, bool, int64, uint64 and message.  Numbers are Lua's: exact up to 2^53.  What is
-- absent is decoded as proto3 has it ("", false, 0, {}); an absent message as nil.

local bit = require "bit"
local buffer = require "string.buffer"
local failure = require "tidegate.failure"
local ffi = require "ffi"

local M = {}

local band, bor, lshift, rshift = bit.band, bit.bor, bit.lshift, bit.rshift
local string_byte, string_char, string_sub = string.byte, string.char, string.sub

local VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
local WIRE = { string = BYTES, bytes = BYTES, message = BYTES, bool = VARINT, int64 = VARINT, uint64 = VARINT }
local INT64 = ffi.typeof "int64_t"
local FIELD_MAX = 536870911 -- 2^29 - 1

-- Encoding ----------------------------------------------------------------------------------------

local function put_varint(out, value)
  while value >= 128 do
    out:put(string_char(value % 128 + 128))
    value = math.floor(value / 128)
  end
  out:put(string_char(value))
end

-- As the 64 bits of its two's complement.
local function put_negative(out, value)
  local rest = ffi.cast("uint64_t", ffi.cast(INT64, value))
  while rest >= 128 do
    out:put(string_char(tonumber(bor(band(rest, 127ULL), 128ULL))))
    rest = rshift(rest, 7)
  end
  out:put(string_char(tonumber(rest)))
end

local put = {}

function put.string(out, value)
  put_varint(out, #value)
  out:put(value)
end

put.bytes = put.string

function put.bool(out, value)
  out:put(value and "\1" or "\0")
end

function put.uint64(out, value)
  put_varint(out, math.max(0, math.floor(value)))
end

function put.int64(out, value)
  if value < 0 then
    return put_negative(out, math.ceil(value))
  end
  put_varint(out, math.floor(value))
end

function put.message(out, value, field)
  put.string(out, M.encode(field.of, value))
end

local function put_field(out, field, value)
  local kind = field[3]
  put_varint(out, field[1] * 8 + WIRE[kind])
  put[kind](out, value, field)
end

-- What proto3 does not send, since the receiver takes it for granted.
local function is_default(value)
  return value == nil or value == "" or value == false or value == 0
end

--- Encode a message.
-- @param fields table of fields
-- @param values name → value; unknown names are ignored
-- @return bytes
function M.encode(fields, values)
  local out = buffer.new()
  for i = 1, #fields do
    local field = fields[i]
    local value = values[field[2]]
    if field.repeated then
      for _, item in ipairs(value or {}) do
        put_field(out, field, item)
      end
    elseif not is_default(value) then
      put_field(out, field, value)
    end
  end
  return out:tostring()
end

-- Decoding ----------------------------------------------------------------------------------------

local function broken(what)
  return nil, failure.new("protocol", what, { layer = "protobuf" })
end

-- @return two's complement of 64 bits, position behind it | nil, err
local function read_long(bytes, at)
  local value, shift = 0ULL, 0
  for i = at, at + 9 do
    local byte = string_byte(bytes, i)
    if not byte then
      return broken "a cut number"
    end
    value = bor(value, lshift(ffi.cast("uint64_t", band(byte, 127)), shift))
    if byte < 128 then
      if i == at + 9 and byte > 1 then
        break
      end
      return value, i + 1
    end
    shift = shift + 7
  end
  return broken "an endless number"
end

-- A number that is small as a rule: a key or a length.
local function read_short(bytes, at)
  local first = string_byte(bytes, at)
  if first and first < 128 then
    return first, at + 1
  end
  local value, next_at = read_long(bytes, at)
  if not value then
    return nil, next_at
  end
  return tonumber(value), next_at
end

local take = {}

function take.bool(bytes, at)
  local value, next_at = read_long(bytes, at)
  if not value then
    return nil, next_at
  end
  return next_at, value ~= 0
end

function take.uint64(bytes, at)
  local value, next_at = read_long(bytes, at)
  if not value then
    return nil, next_at
  end
  return next_at, tonumber(value)
end

function take.int64(bytes, at)
  local value, next_at = read_long(bytes, at)
  if not value then
    return nil, next_at
  end
  return next_at, tonumber(ffi.cast(INT64, value))
end

function take.string(bytes, at)
  local size, start = read_short(bytes, at)
  if not size then
    return nil, start
  elseif size > #bytes - start + 1 then
    return broken "a length beyond the end"
  end
  return start + size, string_sub(bytes, start, start + size - 1)
end

take.bytes = take.string

function take.message(bytes, at, field)
  local next_at, inner = take.string(bytes, at)
  if not next_at then
    return nil, inner
  end
  local value, err = M.decode(field.of, inner)
  if not value then
    return nil, err
  end
  return next_at, value
end

local SKIP = { [VARINT] = take.uint64, [BYTES] = take.string }
local FIXED = { [FIXED64] = 8, [FIXED32] = 4 }

-- Past a field nobody knows.  @return position | nil, err
local function skip(bytes, at, wire)
  if SKIP[wire] then
    return SKIP[wire](bytes, at)
  elseif not FIXED[wire] then
    return broken(("wire type %d"):format(wire))
  elseif at + FIXED[wire] - 1 > #bytes then
    return broken "a cut number"
  end
  return at + FIXED[wire]
end

local DEFAULTS = { string = "", bytes = "", bool = false, int64 = 0, uint64 = 0 }
local by_number = setmetatable({}, { __mode = "k" })

local function index_of(fields)
  local index = by_number[fields]
  if not index then
    index = {}
    for _, field in ipairs(fields) do
      index[field[1]] = field
    end
    by_number[fields] = index
  end
  return index
end

local function defaults(fields)
  local values = {}
  for _, field in ipairs(fields) do
    if field.repeated then
      values[field[2]] = {}
    else
      values[field[2]] = DEFAULTS[field[3]]
    end
  end
  return values
end

-- One field, known or not.  @return position behind it | nil, err
local function read_field(bytes, at, index, values)
  local key, start = read_short(bytes, at)
  if not key then
    return nil, start
  end
  local number, wire = math.floor(key / 8), key % 8
  if number == 0 or number > FIELD_MAX then
    return broken "an impossible field"
  end
  local field = index[number]
  if not field then
    return skip(bytes, start, wire)
  elseif wire ~= WIRE[field[3]] then
    return broken(("field %s of another type"):format(field[2]))
  end
  local next_at, value = take[field[3]](bytes, start, field)
  if not next_at then
    return nil, value
  elseif field.repeated then
    table.insert(values[field[2]], value)
  else
    values[field[2]] = value
  end
  return next_at
end

--- Decode a message.  Fields it does not know are passed over; anything malformed is an error.
-- @return name → value | nil, err
function M.decode(fields, bytes)
  local values, index, at = defaults(fields), index_of(fields), 1
  while at <= #bytes do
    local next_at, err = read_field(bytes, at, index, values)
    if not next_at then
      return nil, err
    end
    at = next_at
  end
  return values
end

return M
