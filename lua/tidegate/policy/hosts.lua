-- Static names: tables of host names and their addresses.
--
-- A hosts object has `lookup(self, ctx, network, host)` → list of IPs | nil.  Large tables are made once,
-- in the control thread, and lie in a shared dictionary; small ones are a Lua table in each worker.

local addr = require "tidegate.net.addr"
local shared = require "tidegate.native.shared"

local SMALL = 256 -- names a Lua table holds at most
local SPARE = 1048576 -- bytes a dictionary gets beyond what is put into it
local SERIAL = "" -- no name: tells what the dictionary holds now

local string_find, string_lower, string_sub = string.find, string.lower, string.sub

local M = {
  kind = "hosts",
  list = "hosts",
  main = "lookup",
}
local methods = {}
local mt = { __name = "tidegate.hosts", __index = methods }

-- Reading ----------------------------------------------------------------------------------------

-- "1.2.3.4 name name # comment" → the text without comment, when it begins with an address
local function read_line(text)
  text = text:gsub("#.*", "")
  local ip, names = text:match "^%s*(%S+)%s+(%S.-)%s*$"
  return ip and addr.is_ip(ip) and ip .. " " .. names or nil
end

M.loader = {
  redis = "set",
  types = { list = true },
  comments = "any",
  line = read_line,
  item = read_line,
}

-- Tables ------------------------------------------------------------------------------------------

-- IPv4-mapped addresses are IPv4.
local function plain(ip)
  local bytes = string_find(ip, ":", 1, true) and addr.bytes(ip)
  if bytes and #bytes == 4 then
    return ("%d.%d.%d.%d"):format(bytes:byte(1, 4))
  end
  return ip
end

local function add(names, name, ip)
  name = string_lower(name)
  if name ~= "." then
    name = name:gsub("%.$", "")
  end
  local before = names[name]
  if not before then
    names[name] = ip
    return 1
  elseif not string_find(" " .. before .. " ", " " .. ip .. " ", 1, true) then
    names[name] = before .. " " .. ip
  end
  return 0
end

-- @return name → "ip ip", how many names
local function collect(config, loaded)
  local names, count = {}, 0
  for _, item in ipairs(config.mappings or {}) do
    if item.ip and addr.is_ip(item.ip) and item.hostname and item.hostname ~= "" then
      count = count + add(names, item.hostname, plain(item.ip))
      for _, alias in ipairs(item.aliases or {}) do
        count = count + (alias ~= "" and add(names, alias, plain(item.ip)) or 0)
      end
    end
  end
  for _, source in ipairs { "file", "redis", "http" } do
    for _, line in ipairs(loaded[source] or {}) do
      local ip, rest = line:match "^(%S+) (.*)$"
      ip = plain(ip)
      for name in rest:gmatch "%S+" do
        count = count + add(names, name, ip)
      end
    end
  end
  return names, count
end

-- Of the control thread: dictionaries in use, and names of those that are empty again.
local made, free, serial = {}, {}, 0

local function size_of(names)
  local bytes = 0
  for name, ips in pairs(names) do
    bytes = bytes + #name + #ips
  end
  return bytes
end

local function holds(dict, names)
  for name, ips in pairs(names) do
    if dict:get(name) ~= ips then
      return false
    end
  end
  return true
end

local function data_of(one)
  one.uses = one.uses + 1
  return { dict = one.name, serial = one.serial, suffixes = one.suffixes }
end

-- @return data: of a dictionary with exactly these names, if there is one | nil, err
local function share(names, count)
  local bytes = size_of(names)
  for _, one in pairs(made) do
    if one.count == count and one.bytes == bytes and holds(shared.dict(one.name), names) then
      return data_of(one)
    end
  end

  serial = serial + 1
  local one = { name = table.remove(free) or ("hosts/%d"):format(serial), serial = serial, count = count,
    bytes = bytes, suffixes = false, uses = 0 }
  local dict = shared.dict(one.name)
  dict:limit(bytes + count * 64 + SPARE)
  for host, ips in pairs(names) do
    local ok, err = dict:set(host, ips)
    if not ok then
      dict:clear()
      free[#free + 1] = one.name
      return nil, err
    end
    one.suffixes = one.suffixes or host:byte() == 46
  end
  dict:set(SERIAL, one.serial)
  made[one.name] = one
  return data_of(one)
end

--- Make the table of an object.
-- @return { names, suffixes } or { dict, suffixes } | nil, err
function M.prepare(config, loaded)
  local names, count = collect(config, loaded or {})
  if count > SMALL then
    return share(names, count)
  end
  local suffixes = false
  for name in pairs(names) do
    suffixes = suffixes or name:byte() == 46
  end
  return { names = names, suffixes = suffixes }
end

--- Nobody uses a table any more.
function M.release(data)
  local one = data.dict and made[data.dict]
  if not one then
    return
  end
  one.uses = one.uses - 1
  if one.uses == 0 then
    made[data.dict] = nil
    shared.dict(data.dict):clear()
    free[#free + 1] = data.dict
  end
end

-- Objects -----------------------------------------------------------------------------------------

--- Make a hosts object.
function M.new(config, env)
  local data, err = env.data, nil
  if not data then
    data, err = M.prepare(config, {})
    if not data then
      return nil, err
    end
  end
  local self = setmetatable({ name = config.name }, mt)
  self:load(data)
  return self
end

--- Take another table.
function methods:load(data)
  self.names, self.suffixes = data.names, data.suffixes
  self.dict, self.serial = data.dict and shared.dict(data.dict) or nil, data.serial
end

local function find(self, name)
  local dict = self.dict
  if dict then
    return dict:get(name)
  end
  return self.names[name]
end

-- Connections of a former configuration may outlive its tables; the dictionary may be somebody else's by then.
local function is_gone(self, name)
  return self.dict and self.dict:get(SERIAL) ~= self.serial or name == SERIAL
end

-- The name itself, the same as suffix, then what follows each dot; last the name for all.
local function match(self, name)
  local found = find(self, name)
  if found or not self.suffixes then
    return found
  end
  found = find(self, "." .. name)
  local dot = string_find(name, ".", 1, true)
  while not found and dot do
    found = find(self, string_sub(name, dot))
    dot = string_find(name, ".", dot + 1, true)
  end
  return found or find(self, ".")
end

local function wanted(network, ip)
  if network == "ip4" then
    return not string_find(ip, ":", 1, true)
  elseif network == "ip6" then
    return string_find(ip, ":", 1, true) ~= nil
  end
  return true
end

--- @param network "ip", "ip4" or "ip6"
-- @return list of IPs | nil
function methods:lookup(_, network, host)
  local name = string_lower(host):gsub("%.$", "")
  local found = not is_gone(self, name) and match(self, name)
  if not found then
    return nil
  end
  local ips
  for ip in found:gmatch "%S+" do
    if wanted(network, ip) then
      ips = ips or {}
      ips[#ips + 1] = ip
    end
  end
  return ips
end

--- Hosts of a script: `lookup(ctx, network, host)` → an IP or a list of them | nil.
function M.scripted(given)
  local own = given.lookup
  function given.lookup(self, ctx, network, host)
    local value = own(self, ctx, network, host)
    local ips
    for _, ip in ipairs(type(value) == "table" and value or { value }) do
      if type(ip) == "string" and addr.is_ip(ip) then
        ips = ips or {}
        ips[#ips + 1] = ip
      end
    end
    return ips
  end
  return given
end

--- @return what a service, hop or node names, or nil
function M.of(config, registry)
  return registry.hosts[config.hosts or ""]
end

--- What a service asks first for names it has to dial.
function M.attach(service, config)
  service.hosts = M.of(config, service.registry)
  return true
end

--- What tg.hosts(name, { ["a.example"] = "192.0.2.1" or a list }) declares; a table in gost's schema is taken
-- as it is.
function M.declare(spec)
  if spec.mappings or spec.plugin or spec.file or spec.redis or spec.http then
    return spec
  end
  local mappings = {}
  for name, ips in pairs(spec) do
    for _, ip in ipairs(type(ips) == "table" and ips or { ips }) do
      mappings[#mappings + 1] = { hostname = name, ip = ip }
    end
  end
  return { mappings = mappings }
end

return M
