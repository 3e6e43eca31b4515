-- Routes of a router in the kernel's table, in a network namespace of the test's own.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local CONFIG = [[
services:
- { name: s, addr: 127.0.0.1:0, handler: { type: http }, listener: { type: tcp } }
routers:
- name: r
%s
  routes:
  - { dst: 10.8.0.0/16, gateway: 10.9.0.2 }
  - { dst: a-name, gateway: 10.9.0.2 }
  - { dst: 10.7.0.0/16, gateway: a-gateway }
  - { dst: 10.6.0.0/16, gateway: 10.9.0.3 }
  - { dst: 10.5.0.0/16, gateway: 192.0.2.1 }
  - { dst: 10.4.0.0/16, gateway: 10.9.0.2 }
]]

-- A namespace of its own, with a network in which gateways can be.
local NAMESPACE = [[exec unshare -rn sh -c 'ip link set lo up && ip link add v0 type veth peer name v1 &&
ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up && ip link set v1 up && exec "$@"' sh "$@"]]

local function can_make_namespaces()
  return programs.run("sh", { "-c", NAMESPACE, "sh", "true" }).code == 0
end

local function start(more)
  local file = programs.file(programs.folder(), "gost.yml", CONFIG:format(more))
  return proxy.start({ "-C", file }, { services = 1, shell = NAMESPACE })
end

-- Destinations that the process's kernel knows, as in /proc/net/route: little-endian hex.
local function destinations(p)
  local file = assert(io.open(("/proc/%d/net/route"):format(p.process.pid)))
  local found = {}
  for line in file:lines() do
    local a, b = line:match "^%S+%s+%x%x%x%x(%x%x)(%x%x)%s"
    if a == "08" or b == "0A" then
      found[#found + 1] = ("10.%d"):format(tonumber(a, 16))
    end
  end
  file:close()
  table.sort(found)
  return found
end

describe("routes", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("go into the kernel's table up to the first that does not fit", helpers.task(function()
    if not can_make_namespaces() then
      return pending "needs network namespaces"
    end
    local p = start ""
    assert.same({ "10.6", "10.8", "10.9" }, destinations(p))
    p:logged "router r: .*; what follows stays out of the kernel"
  end, 60))

  it("stay out of it when the configuration says so", helpers.task(function()
    if not can_make_namespaces() then
      return pending "needs network namespaces"
    end
    assert.same({ "10.9" }, destinations(start "  install: false"))
  end, 60))
end)
