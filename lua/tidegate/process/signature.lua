-- A text that is equal for equal configurations, whatever the order of their tables' keys: how a reload
-- knows which services may go on as they are.

local uv = require "luv"

local M = {}

local function by_text(a, b)
  return tostring(a) < tostring(b)
end

local function write(value, out)
  if type(value) ~= "table" then
    out[#out + 1] = type(value) == "string" and ("%q"):format(value) or tostring(value)
    return
  end
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, by_text)
  out[#out + 1] = "{"
  for _, key in ipairs(keys) do
    write(key, out)
    out[#out + 1] = "="
    write(value[key], out)
    out[#out + 1] = ";"
  end
  out[#out + 1] = "}"
end

--- @return the text of any plain value
function M.of(value)
  local out = {}
  write(value, out)
  return table.concat(out)
end

--- Signatures of all services: each covers the service and everything services may refer to.  Beside
-- scripts none equals another: a script runs once in a generation, and its services go with it.
-- @return name → text
function M.of_services(config)
  local common = {}
  for key, value in pairs(config) do
    if key ~= "services" then
      common[key] = value
    end
  end
  local rest, signatures = M.of(common), {}
  if config.scripts and #config.scripts > 0 then
    rest = rest .. uv.hrtime()
  end
  for _, service in ipairs(config.services or {}) do
    signatures[service.name] = M.of(service) .. rest
  end
  return signatures
end

return M
