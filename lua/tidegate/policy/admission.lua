-- Admissions: which clients may connect at all.
--
-- An admission is a table with `admits(self, ctx, network, address)` → bool.

local failure = require "tidegate.failure"
local log = require "tidegate.process.log"
local patterns = require "tidegate.policy.patterns"
local resolve = require "tidegate.net.resolve"
local task = require "tidegate.native.task"

local M = {
  kind = "admission",
  list = "admissions",
  main = "admits",
  loader = { raw = true, redis = "set" },
  on_error = false,
  on_errors = { open = true, closed = false },
}

local RESOLVE_MS = 5000 -- for all the names of an admission together
local AT_ONCE = 16

local methods = {}
local mt = { __name = "tidegate.admission", __index = methods }

-- The first address of each name; those that have none are left out.
local function look_up(names, config)
  local found, deadline = {}, task.now() + RESOLVE_MS
  local left, at, over = math.min(AT_ONCE, #names), 0, task.waiter()
  local function work()
    while at < #names do
      at = at + 1
      local name = names[at]
      local ips, err = resolve.lookup(name, deadline)
      if ips and ips[1] then
        found[#found + 1] = ips[1]
      else
        log.default():log("warn", ("admission %s: %s"):format(config.name or "",
          tostring(err or failure.new("resolve", name .. " has no address"))), { "kind", "admission" })
      end
    end
    left = left - 1
    if left == 0 then
      over:wake(true)
    end
  end
  for _ = 1, left do
    task.spawn(work)
  end
  if left > 0 then
    over:wait()
  end
  return found
end

--- Compile the patterns, in the control thread.  Whatever is neither an address nor a network is a host
-- name and looked up here, once.
function M.prepare(config, loaded)
  local sources = patterns.sources(config, loaded)
  local data, names = patterns.prepare(M.kind, config, sources, true)
  if not data or #names == 0 then
    return data, not data and names or nil
  end
  patterns.release(data)
  sources[#sources + 1] = { items = look_up(names, config) }
  sources.complete = true
  local err
  data, err = patterns.prepare(M.kind, config, sources, true)
  return data, not data and err or nil
end

M.release = patterns.release
M.files = patterns.files
M.declare = patterns.declare

--- Make an admission.
-- @param env.data of prepare(); nil: the inline addresses and networks are compiled here
-- @return admission | nil, err
function M.new(config, env)
  local list, err
  if env and env.data then
    list, err = patterns.open(env.data)
  else
    list, err = patterns.compile(config, true)
  end
  if not list then
    return nil, err
  end
  return setmetatable({
    patterns = list,
    whitelist = config.whitelist or config.reverse or false,
  }, mt)
end

--- Take over other patterns.
methods.load = patterns.renew

--- May a client connect?
-- @param address "ip:port"
function methods:admits(_, _, address)
  if not address or address == "" then
    return true
  end
  return self.patterns:contains(address) == self.whitelist
end

function methods:close()
  self.patterns:close()
end

local scripted_mt = { __name = "tidegate.admission.scripted", __index = {} }

function scripted_mt.__index:admits(ctx, network, address)
  return self.methods:admits(ctx, network, address) and true or false
end

--- An admission of a script: `admits(ctx, network, address)` → truth.
function M.scripted(spec)
  return setmetatable({ methods = spec }, scripted_mt)
end

local group_mt = { __name = "tidegate.admission.group", __index = {} }

-- A name nobody defined admits nobody.
function group_mt.__index:admits(ctx, network, address)
  local registered, names = self.registry.admissions, self.names
  for i = 1, #names do
    local one = registered[names[i]]
    if not one or not one:admits(ctx, network, address) then
      return false
    end
  end
  return true
end

--- The admissions that a service names by `admission` and `admissions`: all must admit.
-- @return a group, or nil when there are none
function M.of(config, registry)
  local names = patterns.names(config, "admission", "admissions")
  if #names > 0 then
    return setmetatable({ names = names, registry = registry }, group_mt)
  end
end

--- Give a service its admission.
function M.attach(service, config)
  service.admission = M.of(config, service.registry)
  return true
end

return M
