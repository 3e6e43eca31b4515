-- Addresses as text: "192.0.2.1:80", "[2001:db8::1]:80", "example.com:443", ":80", "/run/x.sock".

local codec = require "tidegate.native.address"

local family = codec.family
local parts = codec.parts
local string_find = string.find
local string_match = string.match
local string_sub = string.sub

local M = {}

--- Take a text apart.  Brackets around the host go away.
-- @return host, port (a number, or nil when there is none); a text such as "::1" is all host
M.split = codec.parts

--- The opposite of split(); IPv6 hosts get their brackets.
function M.join(host, port)
  if string_find(host, ":", 1, true) then
    host = "[" .. host .. "]"
  end
  return host .. ":" .. port
end

--- @return the host part of an address
function M.host(text)
  return (parts(text))
end

--- @return the address, with `port` added when it brings none
function M.with_port(address, port)
  local host, own = M.split(address)
  return own and address or M.join(host, port)
end

--- @param where "ip:port", or a list of them
-- @return the first IPv4 address, as gost chooses; without one, the first of all
function M.first_v4(where)
  if type(where) == "string" then
    return where
  end
  for i = 1, #where do
    if not where[i]:find("[", 1, true) then
      return where[i]
    end
  end
  return where[1]
end

--- @return 4, 6 or nil: the family of an IP literal without brackets (zones are allowed)
M.family = codec.family

--- @return whether a text is an IP literal
function M.is_ip(host)
  return family(host) ~= nil
end

--- @return the bytes of an IP literal, 4 or 16 of them (IPv4-mapped ones are unmapped), or nil
M.bytes = codec.bytes

-- Do the first `bits` bits of two byte strings agree?
local function same_prefix(a, b, bits)
  local whole = math.floor(bits / 8)
  if string_sub(a, 1, whole) ~= string_sub(b, 1, whole) then
    return false
  end
  local rest = bits % 8
  if rest == 0 then
    return true
  end
  local shift = 2 ^ (8 - rest)
  return math.floor(a:byte(whole + 1) / shift) == math.floor(b:byte(whole + 1) / shift)
end

--- A set of IPs and CIDRs.  Items that are neither are left out.
-- @return a function: IP literal → boolean
function M.ip_set(items)
  local exact, nets = {}, {}
  for _, item in ipairs(items) do
    local ip, bits = string_match(item, "^%s*([^/%s]+)/(%d+)%s*$")
    ip = ip or string_match(item, "^%s*(%S+)%s*$")
    local bytes = ip and M.bytes(ip)
    bits = tonumber(bits)
    if bytes and bits and bits <= #bytes * 8 then
      nets[#nets + 1] = { bytes = bytes, bits = bits }
    elseif bytes and not bits then
      exact[bytes] = true
    end
  end

  return function(host)
    local bytes = M.bytes(host)
    if not bytes then
      return false
    end
    if exact[bytes] then
      return true
    end
    for i = 1, #nets do
      local net = nets[i]
      if #net.bytes == #bytes and same_prefix(net.bytes, bytes, net.bits) then
        return true
      end
    end
    return false
  end
end

return M
