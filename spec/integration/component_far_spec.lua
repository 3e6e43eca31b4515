-- Listening at the far end of a chain: over every transport, by every connector that can have its server listen.
-- And what needs no server at all.

local component = require "tidegate.component"
local config = require "spec.helpers.matrix_config"
local helpers = require "spec.helpers"
local matrix = require "spec.helpers.component_matrix"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local world = require "spec.helpers.matrix_world"

local BY = { relay = { "tcp", "unix", "udp" }, socks5 = { "tcp", "udp" }, sshd = { "tcp" } } -- connector → networks
local LISTENERS = { tcp = "rtcp", udp = "rudp", unix = "runix" }
local CAN = { speaks_first = true, half_close = false }

-- The protocols that can bind, with what the handler must be told.
local function binding(transport)
  local list = {}
  for _, one in ipairs((matrix.over(transport, matrix.protocols()))) do
    if BY[one.connector] and one.handler == one.connector then
      one.metadata = { bind = one.handler ~= "sshd" or nil, udp = one.handler == "socks5" or nil }
      list[#list + 1] = one
    end
  end
  return list
end

-- Every way to have something listen: { name, transport, protocol, network }.
local function ways()
  local list = {}
  for _, transport in ipairs(matrix.transports()) do
    for _, one in ipairs(not transport.datagrams and binding(transport) or {}) do
      for _, network in ipairs(BY[one.connector]) do
        list[#list + 1] = {
          name = ("%s %s %s"):format(transport.name, one.name, network), transport = transport, protocol = one,
          network = network,
        }
      end
    end
  end
  return list
end

local function servers(list)
  local base, chain = config.base()
  local services = { base }
  for _, way in ipairs(list) do
    services[#services + 1] = config.server(way.name, way.transport, way.protocol, nil, "base")
  end
  return world.start { services = services, chains = { chain } }
end

local function clients(list, at, target)
  local services, chains = {}, {}
  for i, way in ipairs(list) do
    chains[i] = config.chain(way.name, { config.node("far", at[way.name], way.transport, way.protocol) })
    services[i] = config.client(way.name, way.network == "udp" and "udp" or "tcp", target[way.network], nil)
    services[i].listener = { type = LISTENERS[way.network], chain = way.name }
    if way.network == "unix" then
      services[i].addr = config.place()
      services[i].handler.type = "unix"
    elseif way.network == "udp" then
      services[i].addr = ("127.0.0.1:%d"):format(programs.free_port()) -- socks5 asks for one that is named
    end
  end
  return world.start { services = services, chains = chains }
end

describe("the far end", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("has all connectors that can bind", function()
    for _, name in ipairs(component.known "connector") do
      local item = component.find("connector", name)
      assert.equal(item.bind ~= nil, BY[item.name] ~= nil, name)
    end
  end)

  local list = ways()
  it(("listens, in %d ways"):format(#list), world.with(function(target)
    config.begin()
    local far, at = servers(list)
    local near, doors = clients(list, at, target)
    local jobs = {}
    for i, way in ipairs(list) do
      jobs[i] = { way.name, function()
        if way.network == "udp" then
          world.datagrams(doors[way.name])
        else
          world.exchange(world.dial(doors[way.name]), target.tcp, CAN)
          world.leave(function()
            return world.dial(doors[way.name])
          end, target.tcp)
        end
      end, { way.name } }
    end
    world.all(jobs, { far, near })
  end))

  for _, name in ipairs { "direct", "virtual" } do
    it("is here with the connector " .. name, world.with(function(target)
      local node = { name = "here", addr = ":0", dialer = { type = name }, connector = { type = name } }
      local _, doors = world.start {
        services = { config.client("tcp", "tcp", target.tcp, "here") }, chains = { config.chain("here", { node }) },
      }
      world.exchange(world.dial(doors.tcp), target.tcp, { speaks_first = true, half_close = true })
    end))
  end
end)
