-- Bypasses: lists of targets.  Of a service they are targets it refuses, of a hop or a node those that
-- do not go through it.
--
-- A bypass is a table with `contains(self, ctx, network, address, info)` → bool, and maybe `whitelist`,
-- which says how it joins others in a group.

local addr = require "tidegate.net.addr"
local patterns = require "tidegate.policy.patterns"

local M = {
  kind = "bypass",
  list = "bypasses",
  main = "contains",
  loader = { raw = true, redis = "set" },
  on_error = true,
  on_errors = { open = false, closed = true },
}

local methods = {}
local mt = { __name = "tidegate.bypass", __index = methods }

--- Compile the patterns, in the control thread.
function M.prepare(config, loaded)
  return patterns.prepare(M.kind, config, patterns.sources(config, loaded))
end

M.release = patterns.release
M.files = patterns.files
M.declare = patterns.declare

local function open(config, data)
  if data then
    return patterns.open(data)
  end
  return patterns.compile(config)
end

--- Make a bypass.
-- @param env.data of prepare(); nil: the inline patterns are compiled here
-- @return bypass | nil, err
function M.new(config, env)
  local list, err = open(config, env and env.data)
  if not list then
    return nil, err
  end
  return setmetatable({
    patterns = list,
    network = config.network ~= "" and config.network or nil,
    whitelist = config.whitelist or config.reverse or false,
  }, mt)
end

--- Take over other patterns.
methods.load = patterns.renew

-- What was asked for, where it is not what is dialed: "host:port", or nil.
local function original(address, info)
  local host = info and info.host
  if not host or host == "" or host == address then
    return nil
  end
  local bare, port = addr.split(host)
  if not port then
    local dialed
    dialed, port = addr.split(address)
    if dialed == bare then
      return nil
    end
  end
  return port and addr.join(bare, port) or host
end

--- Is an address, "host:port", to be kept out?
-- @param network "tcp" or "udp"
-- @param info nil or { host = what the client asked for }: where that is a name and the address what it
--   stands for, both are looked at
function methods:contains(_, network, address, info)
  if not address or address == "" then
    return false
  elseif self.network and self.network ~= network then
    return false
  elseif self.patterns.count == 0 then
    return self.network ~= nil and not self.whitelist
  end
  local matched = self.patterns:contains(address)
  if not matched then
    local other = original(address, info)
    matched = other ~= nil and self.patterns:contains(other)
  end
  return matched ~= self.whitelist
end

function methods:close()
  self.patterns:close()
end

local scripted_mt = { __name = "tidegate.bypass.scripted", __index = {} }

function scripted_mt.__index:contains(ctx, network, address, info)
  if not address or address == "" then
    return false
  end
  return self.methods:contains(ctx, network, address, info) and true or false
end

--- A bypass of a script: `contains(ctx, network, address, info)` → truth; `whitelist` says how it joins
-- others in a group.
function M.scripted(spec)
  return setmetatable({ methods = spec, whitelist = spec.whitelist or false }, scripted_mt)
end

local group_methods = {}
local group_mt = { __name = "tidegate.bypass.group", __index = group_methods }

-- Any blacklist keeps an address out, and so do the whitelists when all of them do.  A name nobody
-- defined is a blacklist of nothing.
function group_methods:contains(ctx, network, address, info)
  local registered, names = self.registry.bypasses, self.names
  local whitelists, listed = false, false
  for i = 1, #names do
    local one = registered[names[i]]
    if one and one.whitelist then
      whitelists = true
      listed = listed or not one:contains(ctx, network, address, info)
    elseif one and one:contains(ctx, network, address, info) then
      return true
    end
  end
  return whitelists and not listed
end

--- The bypasses that a service, a hop or a node names by `bypass` and `bypasses`.
-- @return a group, or nil when there are none
function M.of(config, registry)
  local names = patterns.names(config, "bypass", "bypasses")
  if #names > 0 then
    return setmetatable({ names = names, registry = registry, whitelist = false }, group_mt)
  end
end

-- Do all of a group look at nothing but the address?
local function is_plain(group)
  for _, name in ipairs(group.names) do
    local one = group.registry.bypasses[name]
    if one and (getmetatable(one) ~= mt or rawget(one, "contains")) then
      return false
    end
  end
  return true
end

--- Give a service its bypass; it is `plain` when it need not be told more than the address that was asked for.
function M.attach(service, config)
  service.bypass = M.of(config, service.registry)
  if service.bypass then
    service.bypass.plain = is_plain(service.bypass)
  end
  return true
end

return M
