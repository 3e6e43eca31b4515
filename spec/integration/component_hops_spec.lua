-- spec: timeout=300
-- Every transport as the first hop before every transport as the second one, with every connector in both places:
-- three whole tidegates, a client and two servers.  Of protocols not all combinations are there, but all pairs of
-- a hop's transport and its protocol, and of what the two hops have: see spec/helpers/matrix_hops.lua.

local config = require "spec.helpers.matrix_config"
local helpers = require "spec.helpers"
local hops = require "spec.helpers.matrix_hops"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local world = require "spec.helpers.matrix_world"

local GROUP = 125 -- ways in one set of processes

-- The service of a hop; forwarders lead to one place only.
local function key(transport, protocol, goal)
  return ("%s %s%s"):format(transport.name, protocol.name, protocol.forwards and " " .. goal or "")
end

-- A tidegate that serves one hop of every way.
-- @param wanted a list of { transport, protocol, goal = { tcp =, unix = } of a forwarder }
local function serve(wanted)
  local base, chain = config.base()
  local services, seen = { base }, {}
  for _, one in ipairs(wanted) do
    local name = key(one.transport, one.protocol, one.goal.tcp)
    if not seen[name] then
      seen[name] = true
      services[#services + 1] = config.server(name, one.transport, one.protocol, one.goal, "base")
    end
  end
  return world.start { services = services, chains = { chain } }
end

-- Where the two hops of each way are, and the processes that serve them.
local function servers(ways, target)
  local last, first = {}, {}
  for i, way in ipairs(ways) do
    last[i] = { transport = way.to, protocol = way.second, goal = target }
  end
  local far, at_far = serve(last)
  for i, way in ipairs(ways) do
    way.last = at_far[key(way.to, way.second, target.tcp)]
    first[i] = { transport = way.from, protocol = way.first, goal = { tcp = way.last, unix = way.last } }
  end
  local middle, at_middle = serve(first)
  for _, way in ipairs(ways) do
    way.begin = at_middle[key(way.from, way.first, way.last)]
  end
  return far, middle
end

local function client(ways, target)
  local services, chains = {}, {}
  for i, way in ipairs(ways) do
    local name = ("%d"):format(i)
    chains[i] = config.chain(name, {
      config.node(way.from.name .. " " .. way.first.name, way.begin, way.from, way.first),
      config.node(way.to.name .. " " .. way.second.name, way.last, way.to, way.second),
    })
    if way.second.bytes then
      services[#services + 1] = config.client("tcp" .. name, "tcp", target.tcp, name)
    end
    if way.second.packets then
      services[#services + 1] = config.client("udp" .. name, "udp", target.udp, name)
    end
  end
  return world.start { services = services, chains = chains }
end

local function jobs_of(ways, doors, target)
  local jobs = {}
  for i, way in ipairs(ways) do
    local names = { "tcp" .. i, "udp" .. i, key(way.from, way.first, way.last), key(way.to, way.second, target.tcp) }
    jobs[i] = { ("%s+%s, %s+%s"):format(way.from.name, way.first.name, way.to.name, way.second.name), function()
      if doors[names[1]] then
        world.exchange(world.dial(doors[names[1]]), target.tcp, {
          speaks_first = way.second.speaks_first and way.first.speaks_first, half_close = hops.half_close(way),
        })
        world.leave(function()
          return world.dial(doors[names[1]])
        end, target.tcp)
      end
      if doors[names[2]] then
        world.datagrams(doors[names[2]])
      end
    end, names }
  end
  return jobs
end

describe("two hops", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  local all = hops.all()
  for begin = 1, #all, GROUP do
    local ways = { unpack(all, begin, math.min(begin + GROUP - 1, #all)) }
    it(("work: %d ways, from %s"):format(#ways, ways[1].from.name), world.with(function(target)
      config.begin()
      local far, middle = servers(ways, target)
      local near, doors = client(ways, target)
      world.all(jobs_of(ways, doors, target), { far, middle, near })
    end))
  end
end)
