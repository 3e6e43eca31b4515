-- Service discovery: where the connectors of a tunnel are, for tunnel and router handlers on several
-- machines.
--
-- gost has plugins only.  Without one, what is registered is known in this process, to all workers.
-- A record is { id, name, node, network, address }.

local buffer = require "string.buffer"
local failure = require "tidegate.failure"
local guard = require "tidegate.script.guard"
local shared = require "tidegate.native.shared"

local M = {
  kind = "sd",
  list = "sds",
  main = "get",
}
local methods = {}
local mt = { __name = "tidegate.sd", __index = methods }

local MAX_RECORDS = 65536

-- Each part is told by its length: nothing that is registered can look like something else.
local function prefix(name)
  return ("%d %s "):format(#name, name)
end

local function key_of(record)
  return prefix(record.name) .. ("%d %s %s"):format(#record.node, record.node, record.id)
end

local function complete(record)
  return {
    id = tostring(record.id or ""), name = tostring(record.name or ""), node = tostring(record.node or ""),
    network = tostring(record.network or ""), address = tostring(record.address or ""),
  }
end

--- A service discovery of this process.
function M.new(config)
  return setmetatable({ name = config.name, dict = shared.dict("sd/" .. (config.name or "")) }, mt)
end

--- @param record { id, name, node, network, address }
-- @return true | nil, err
function methods:register(_, record)
  local one = complete(record)
  if one.name == "" then
    return nil, failure.new("invalid", "a service needs a name", { op = "sd register" })
  end
  return self.dict:set(key_of(one), buffer.encode(one))
end

--- Say that it is still there; one that was forgotten is known again.
function methods:renew(ctx, record)
  local one = complete(record)
  if self.dict:get(key_of(one)) then
    return true
  end
  return self:register(ctx, record)
end

--- @return true
function methods:deregister(_, record)
  self.dict:delete(key_of(complete(record)))
  return true
end

--- @return list of records of a name, maybe empty
function methods:get(_, name)
  local start, list = prefix(name), {}
  local keys = self.dict:keys(MAX_RECORDS)
  table.sort(keys)
  for _, key in ipairs(keys) do
    local text = key:sub(1, #start) == start and self.dict:get(key)
    if text then
      list[#list + 1] = buffer.decode(text)
    end
  end
  return list
end

local function nothing()
  return true
end

M.answer = guard.wants("table", "a list of records")

--- Service discovery of a script: what it does not have succeeds and does nothing.
function M.scripted(given)
  for _, method in ipairs { "register", "renew", "deregister" } do
    given[method] = given[method] or nothing
  end
  given.get = given.get or function()
    return {}
  end
  return given
end

--- @return the object of that name, or nil
function M.of(name, registry)
  return registry.sds[name or ""]
end

return M
