-- Ingresses: which tunnel a host name leads to.
--
-- An ingress has `get(self, ctx, host)` → endpoint | nil and `set(self, ctx, host, endpoint)` → boolean.  An
-- endpoint is the id of a tunnel; one that begins with "$" is not to be reached from outside.

local addr = require "tidegate.net.addr"
local guard = require "tidegate.script.guard"
local two_words = require "tidegate.policy.two_words"

local M = {
  kind = "ingress",
  list = "ingresses",
  main = "get",
}
local methods = {}
local mt = { __name = "tidegate.ingress", __index = methods }

M.loader = two_words("hostname", "endpoint", { set = true })

-- "*.example.com" is ".example.com", which is example.com as well; later rules win.
local function add(rules, list)
  for _, rule in ipairs(list or {}) do
    local host, endpoint = rule.hostname or "", rule.endpoint or ""
    host = host:gsub("^%*", "")
    if host ~= "" and endpoint ~= "" then
      rules[host:lower()] = endpoint
    end
  end
end

--- Make an ingress.
function M.new(config, env)
  local self = setmetatable({ name = config.name, config = config }, mt)
  self:load(env.data or {})
  return self
end

--- Take other items.
function methods:load(data)
  local rules = {}
  add(rules, self.config.rules)
  add(rules, data.file)
  add(rules, data.redis)
  add(rules, data.http)
  self.rules = rules
end

--- @param host with or without a port
-- @return endpoint | nil
function methods:get(_, host)
  local name = addr.host(host):lower()
  local rules = self.rules
  local found = rules[name] or rules["." .. name]
  local dot = name:find(".", 1, true)
  while not found and dot do
    found = rules[name:sub(dot)]
    dot = name:find(".", dot + 1, true)
  end
  return found
end

--- Only plugins and scripts take rules.
function methods:set() -- luacheck: ignore self
  return false
end

M.answer = guard.wants("string", "an endpoint")

--- An ingress of a script: `get(ctx, host)` → endpoint | nil, maybe `set(ctx, host, endpoint)` → boolean.
function M.scripted(given)
  given.set = given.set or methods.set
  return given
end

--- @return the ingress of that name, or nil
function M.of(name, registry)
  return registry.ingresses[name or ""]
end

return M
