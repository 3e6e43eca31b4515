-- Routers: routes of virtual networks, from a destination to its gateway.
--
-- A router has `get(self, ctx, dst)` → { dst, gateway } | nil.  The first route that fits wins, not the
-- narrowest.  Routes with a network and an IP as gateway are also put into the kernel's table, as gost
-- does, unless `install: false` is said or the process may not.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local log = require "tidegate.process.log"
local task = require "tidegate.native.task"
local two_words = require "tidegate.policy.two_words"
local uv = require "luv"

local NET_ADMIN = 12 -- bit of the capability
local PATIENCE_MS = 10000

local M = {
  kind = "router",
  list = "routers",
  main = "get",
}
local methods = {}
local mt = { __name = "tidegate.router", __index = methods }

M.loader = two_words("dst", "gateway", { list = true, set = true })

-- @return network as "ip/bits" | nil
local function network_of(text)
  local ip, bits = text:match "^([^/%s]+)/(%d+)$"
  local bytes = ip and addr.bytes(ip)
  return bytes and tonumber(bits) <= #bytes * 8 and text or nil
end

-- `net` is gost's older word; it has to be a network.
local function destination(item)
  if item.dst and item.dst ~= "" then
    return item.dst
  end
  return item.net and network_of(item.net)
end

local function collect(config, loaded)
  local routes = {}
  for _, list in ipairs { config.routes or {}, loaded.file or {}, loaded.redis or {}, loaded.http or {} } do
    for _, item in ipairs(list) do
      local dst, gateway = destination(item), item.gateway
      if dst and dst ~= "" and gateway and gateway ~= "" then
        routes[#routes + 1] = { dst = dst, gateway = gateway }
      end
    end
  end
  return routes
end

-- The kernel's table ------------------------------------------------------------------------------

local function may_install()
  local file = io.open "/proc/self/status"
  local text = file and file:read "*a" or ""
  if file then
    file:close()
  end
  local digits = text:match "CapEff:%s*(%x+)" or "0"
  local byte = tonumber(digits:sub(-4, -4), 16) or 0 -- bits 12 to 15
  return byte % 2 ^ (NET_ADMIN % 4 + 1) >= 2 ^ (NET_ADMIN % 4)
end

-- Lines for `ip -batch`, which stops at the first that fails, as gost does.
local function commands(routes)
  local lines = {}
  for _, item in ipairs(routes) do
    if network_of(item.dst) and addr.is_ip(item.gateway) then
      lines[#lines + 1] = ("route replace %s via %s\n"):format(item.dst, item.gateway)
    end
  end
  return lines
end

-- @return true | nil, err
local function run_ip(text)
  local stdin, stderr, said, over = uv.new_pipe(false), uv.new_pipe(false), "", task.waiter()
  local handle, why = uv.spawn("ip", { args = { "-batch", "-" }, stdio = { stdin, nil, stderr } }, function(code)
    over:wake(code)
  end)
  if not handle then
    stdin:close()
    stderr:close()
    return nil, failure.new("io", "cannot run ip: " .. tostring(why))
  end
  stderr:read_start(function(_, bytes)
    said = said .. (bytes or "")
  end)
  stdin:write(text)
  stdin:shutdown(function()
    stdin:close()
  end)
  local code = over:wait(task.now() + PATIENCE_MS)
  if code == nil then
    handle:kill "sigkill"
    over:wait()
  end
  handle:close()
  stderr:close()
  if code ~= 0 then
    return nil, failure.new("io", said:match "[^\n]+" or "ip failed")
  end
  return true
end

local function install(config, routes)
  local lines = commands(routes)
  if #lines == 0 then
    return
  end
  local name = config.name or ""
  local fields = { "kind", "router", "router", name }
  if not may_install() then
    log.default():info(("router %s: its routes stay out of the kernel (no CAP_NET_ADMIN)"):format(name), fields)
    return
  end
  local ok, err = run_ip(table.concat(lines))
  if not ok then
    log.default():warn(("router %s: %s; what follows stays out of the kernel"):format(name, tostring(err)), fields)
  end
end

--- Merge the routes and, unless forbidden, install them; in the control thread.
function M.prepare(config, loaded)
  local routes = collect(config, loaded or {})
  if config.install ~= false and task.is_task() then
    install(config, routes)
  end
  return { routes = routes }
end

-- Objects -----------------------------------------------------------------------------------------

--- Make a router.
function M.new(config, env)
  local self = setmetatable({ name = config.name }, mt)
  self:load(env.data or { routes = collect(config, {}) })
  return self
end

--- Take other routes.
function methods:load(data)
  local routes = {}
  for i, item in ipairs(data.routes) do
    routes[i] = {
      route = { dst = item.dst, gateway = item.gateway },
      contains = network_of(item.dst) and addr.ip_set { item.dst } or nil,
    }
  end
  self.routes = routes
end

--- @param dst an IP, or a text that a route names
-- @return { dst, gateway } | nil
function methods:get(_, dst)
  local is_ip = addr.is_ip(dst)
  for i = 1, #self.routes do
    local one = self.routes[i]
    if one.route.dst == dst or is_ip and one.contains and one.contains(dst) then
      return one.route
    end
  end
end

--- A router of a script: `get(ctx, dst)` → gateway, or { dst, gateway } | nil.
function M.scripted(given)
  local own = given.get
  function given.get(self, ctx, dst)
    local value = own(self, ctx, dst)
    if type(value) == "string" then
      return { dst = dst, gateway = value }
    end
    return type(value) == "table" and value.gateway and value or nil
  end
  return given
end

--- @return the router of that name, or nil
function M.of(name, registry)
  return registry.routers[name or ""]
end

return M
