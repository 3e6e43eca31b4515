-- Small MaxMind DB files for specs, written here: format 2.0, IPv6 trees, records of 24 bits.

local addr = require "tidegate.net.addr"

local M = {}

local MAP, TEXT, UINT16, UINT32, UINT64, ARRAY = 7, 2, 5, 6, 9, 11

local function control(kind, size)
  local extended = kind > 7
  local first = (extended and 0 or kind) * 32
  local head = size < 29 and string.char(first + size) or string.char(first + 29)
  local more = size < 29 and "" or string.char(size - 29)
  return head .. (extended and string.char(kind - 7) or "") .. more
end

local function number(kind, value)
  local bytes = ""
  while value > 0 do
    bytes = string.char(value % 256) .. bytes
    value = math.floor(value / 256)
  end
  return control(kind, #bytes) .. bytes
end

--- A number of 16 bits, where 32 are usual.
function M.uint16(value)
  return { uint16 = value }
end

local function encode(value)
  if type(value) == "string" then
    return control(TEXT, #value) .. value
  elseif type(value) == "number" then
    return number(UINT32, value)
  elseif value.uint16 then
    return number(UINT16, value.uint16)
  elseif value.uint64 then
    return number(UINT64, value.uint64)
  elseif value.array then
    return control(ARRAY, 0)
  end
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  local parts = { control(MAP, #keys) }
  for _, key in ipairs(keys) do
    parts[#parts + 1] = encode(key) .. encode(value[key])
  end
  return table.concat(parts)
end

-- The bits of a network in an IPv6 tree, where IPv4 lies in ::/96.
local function bits_of(net)
  local host, length = net:match "^(.*)/(%d+)$"
  local bytes = assert(addr.bytes(host), net)
  local bits = {}
  if #bytes == 4 then
    bytes, length = ("\0"):rep(12) .. bytes, length + 96
  end
  for i = 0, length - 1 do
    local byte = bytes:byte(math.floor(i / 8) + 1)
    bits[i + 1] = math.floor(byte / 2 ^ (7 - i % 8)) % 2
  end
  return bits
end

local function insert(nodes, bits, data)
  local node = nodes[1]
  for i = 1, #bits - 1 do
    local side = bits[i]
    if type(node[side]) ~= "table" then
      local fresh = { [0] = node[side], node[side], index = #nodes }
      nodes[#nodes + 1] = fresh
      node[side] = fresh
    end
    node = node[side]
  end
  node[bits[#bits]] = data
end

local function record(value, count)
  local n = type(value) == "table" and value.index or value and value + count + 16 or count
  return string.char(math.floor(n / 65536), math.floor(n / 256) % 256, n % 256)
end

--- The bytes of a file.
-- @param entries list of { network, value }: text, number or table; later ones win
function M.bytes(entries)
  local nodes, data, length = { { index = 0 } }, {}, 0
  for _, entry in ipairs(entries) do
    local value = encode(entry[2])
    insert(nodes, bits_of(entry[1]), length)
    data[#data + 1] = value
    length = length + #value
  end
  local tree = {}
  for i, node in ipairs(nodes) do
    tree[i] = record(node[0], #nodes) .. record(node[1], #nodes)
  end
  return table.concat(tree) .. ("\0"):rep(16) .. table.concat(data) .. "\171\205\239MaxMind.com" .. encode {
    node_count = #nodes,
    record_size = M.uint16(24),
    ip_version = M.uint16(6),
    database_type = "Test",
    languages = { array = true },
    binary_format_major_version = M.uint16(2),
    binary_format_minor_version = M.uint16(0),
    build_epoch = { uint64 = 1700000000 },
    description = { en = "test" },
  }
end

--- Write a file.
function M.write(path, entries)
  local file = assert(io.open(path .. ".new", "wb"))
  file:write(M.bytes(entries))
  file:close()
  assert(os.rename(path .. ".new", path))
  return path
end

--- { network, "DE" } → an entry as GeoLite2-Country has it
function M.countries(list)
  local entries = {}
  for i, item in ipairs(list) do
    entries[i] = { item[1], { country = { iso_code = item[2] } } }
  end
  return entries
end

--- { network, 64500 } → an entry as GeoLite2-ASN has it
function M.systems(list)
  local entries = {}
  for i, item in ipairs(list) do
    entries[i] = { item[1], { autonomous_system_number = item[2], autonomous_system_organization = "test" } }
  end
  return entries
end

return M
