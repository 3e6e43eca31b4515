-- Rules by key: "$" for all together, "$$" for each alone, an IP, or a CIDR (the longest prefix wins).

local addr = require "tidegate.net.addr"
local bit = require "bit"

local M = {}
local methods = {}
local mt = { __index = methods }

-- The first `bits` of an address; equal for addresses of one network.
local function prefix(bytes, bits)
  local whole, rest = math.floor(bits / 8), bits % 8
  local text = bytes:sub(1, whole)
  if rest > 0 then
    text = text .. string.char(bit.band(bytes:byte(whole + 1), 0x100 - 2 ^ (8 - rest)))
  end
  return text
end

local function set_net(self, bytes, bits, value)
  self.special = true
  local key = #bytes * 1000 + bits
  local net = self.by_bits[key]
  if not net then
    net = { size = #bytes, bits = bits, values = {} }
    self.by_bits[key] = net
    self.nets[#self.nets + 1] = net
    table.sort(self.nets, function(a, b)
      return a.bits > b.bits
    end)
  end
  net.values[prefix(bytes, bits)] = value
end

--- @return rules without any key
function M.new()
  return setmetatable({ ips = {}, nets = {}, by_bits = {}, special = false }, mt)
end

--- Set the value of a key, in the place of what it had.  @return whether the key makes sense
function methods:set(key, value)
  if key == "$" then
    self.all = value
    return true
  elseif key == "$$" then
    self.each = value
    return true
  end
  local ip, bits = key:match "^(.-)/(%d+)$"
  local bytes = addr.bytes(ip or key)
  bits = tonumber(bits)
  if not bytes then
    return false
  elseif not ip then
    self.ips[bytes], self.special = value, true
    return true
  end
  if ip:find(":", 1, true) and #bytes == 4 then
    bits = bits - 96 -- an IPv4-mapped network
  end
  if bits < 0 or bits > #bytes * 8 then
    return false
  end
  set_net(self, bytes, bits, value)
  return true
end

--- The value for an address: its own, else that of the smallest network around it.
-- @return value | nil
function methods:find(ip)
  if not self.special then
    return nil
  end
  local bytes = addr.bytes(ip)
  if not bytes then
    return nil
  end
  local value = self.ips[bytes]
  if value ~= nil then
    return value
  end
  for i = 1, #self.nets do
    local net = self.nets[i]
    if net.size == #bytes then
      value = net.values[prefix(bytes, net.bits)]
      if value ~= nil then
        return value
      end
    end
  end
end

--- @return whether any rule asks for the address of the client
function methods:by_ip()
  return self.special
end

local SAID = 8 -- lines without sense that are told one by one
local LONGEST = 80 -- characters of them

-- Tell of a line; of many that there are more.
local function complain(list, tell)
  for i = 1, math.min(#list, SAID) do
    tell(("the line %q makes no sense"):format(#list[i] > LONGEST and list[i]:sub(1, LONGEST) .. "…" or list[i]))
  end
  if #list > SAID then
    tell(("%d more lines make no sense"):format(#list - SAID))
  end
end

--- Read lines "KEY WORDS …" from the configuration and what was loaded; later ones win.
-- @param value function(words) → value of the line | nil to ignore it
-- @param tell nil or function(text), told of lines that make no sense
-- @param known nil or function(key): the key of such a line has a meaning elsewhere
function M.read(config, loaded, value, tell, known)
  local rules, odd = M.new(), {}
  for _, lines in ipairs { config.limits or {}, loaded.file or {}, loaded.redis or {}, loaded.http or {} } do
    for _, line in ipairs(lines) do
      local words = {}
      for word in line:gmatch "%S+" do
        words[#words + 1] = word
      end
      local made = #words >= 2 and value(words) or nil
      if made == nil or not rules:set(words[1], made) then
        odd[#odd + 1] = not (known and words[1] and known(words[1])) and line or nil
      end
    end
  end
  if tell then
    complain(odd, tell)
  end
  return rules
end

--- The key of a client: its IP, or what else it is known by.
function M.client_key(ctx)
  local key = rawget(ctx, "client_key")
  if not key then
    local ip = ctx.client_ip
    key = ip and ip ~= "" and addr.is_ip(ip) and ip or ctx.client or "@"
    ctx.client_key = key
  end
  return key
end

--- A name for a shared object, not too long for one.
function M.name(kind, name, key)
  local text = kind .. "/" .. name .. "/" .. key
  if #text <= 255 then
    return text
  end
  local hash = 5381
  for i = 1, #text do
    hash = bit.bxor(bit.tobit(hash * 33), text:byte(i))
  end
  return ("%s/%s"):format(text:sub(1, 200), bit.tohex(hash))
end

return M
