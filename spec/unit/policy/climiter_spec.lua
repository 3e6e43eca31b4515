-- Connection limiters.  Spec: policy 17.2.

local climiter = require "tidegate.policy.climiter"
local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local names = 0

-- A function that takes a place for a client: → its stream | nil.
local function taker(limits, data)
  names = names + 1
  local name = "unit" .. names
  local made = assert(climiter.new({ name = name, limits = limits }, { data = data }))
  return function(ip)
    local near = stream.pair()
    if climiter.take(made, name, { client_ip = ip, client = ip .. ":1", stream = near }) then
      return near
    end
    near:close()
  end, made
end

-- How many of `count` attempts of a client find a place.
local function admitted(take, ip, count, streams)
  local found = 0
  for _ = 1, count do
    local one = take(ip)
    if one then
      found = found + 1
      streams[#streams + 1] = one
    end
  end
  return found
end

local A, B = "10.0.0.1", "10.1.0.1"

local CASES = {
  { "$ counts all together", { "$ 3" }, 2, 1 },
  { "$$ counts each client", { "$$ 3" }, 3, 3 },
  { "an IP has its own number", { "$$ 1", "10.0.0.1 3" }, 3, 1 },
  { "a CIDR counts each client in it", { "10.0.0.0/8 3" }, 3, 3 },
  { "the longest prefix wins", { "10.0.0.0/8 1", "10.1.0.0/16 4" }, 1, 4 }, -- [Q]
  { "an IP goes before a CIDR", { "10.0.0.0/8 1", "10.0.0.1 4" }, 4, 1 },
  { "a CIDR goes before $$", { "$$ 4", "10.1.0.0/16 1" }, 4, 1 },
  { "all must have room", { "$ 4", "$$ 3" }, 3, 1 },
  { "the later line wins", { "$$ 3", "$$ 2" }, 2, 2 },
  { "nonsense is ignored", { "$ 0", "$$ -1", "10.0.0.1 many", "10.1.0.1 1.5", "x 1", "$" }, 5, 5 },
}

describe("a connection limiter", function()
  for _, case in ipairs(CASES) do
    it(case[1], function()
      local take, streams = taker(case[2]), {}
      local of_a = case[1]:find "all together" and 2 or 5
      assert.equal(case[3], admitted(take, A, of_a, streams))
      assert.equal(case[4], admitted(take, B, 5, streams))
      for _, one in ipairs(streams) do
        one:close()
      end
      assert.equal(case[3], admitted(take, A, of_a, {}))
    end)
  end

  it("gives back what a refused client had taken", function()
    local take = taker { "$ 1", "$$ 5" }
    local first = take(A)
    assert.is_nil(take(B))
    first:close()
    assert.truthy(take(B))
  end)

  it("keeps its counts when its items change", function()
    local take, made = taker({}, { file = { "$$ 2" } })
    local first = take(A)
    made:load { file = { "$$ 1" } }
    assert.is_nil(take(A))
    first:close()
    assert.truthy(take(A))
  end)

  it("counts peers without an address by their name", function()
    local take = taker { "$$ 1" }
    assert.truthy(take "@")
  end)
end)

describe("a service with a connection limiter", function()
  after_each(plane.cleanup)

  it("closes what is too much, goes on, and frees places when connections end", helpers.task(function()
    plane.declare("handler", "joiner", {
      handle = function(_, ctx, client)
        local kind = client:read_exact(1)
        if kind == "r" then
          local near, far = stream.pair()
          task.spawn(function()
            far:write(far:read())
            far:close()
          end)
          return ctx:relay(client, near)
        elseif kind == "e" then
          return nil, failure.new("protocol", "made up")
        end
        client:read()
        return true
      end,
    })
    local built, problems = plane.build {
      climiters = { { name = "two", limits = { "$ 2" } } },
      services = { { name = "s", addr = ":1", climiter = "two", handler = { type = "joiner" } } },
    }
    assert.same({}, problems)
    for _, kind in ipairs { "r", "e", "h" } do
      local one, two, three = plane.client(built.s), plane.client(built.s), plane.client(built.s)
      assert.is_nil((three:read()))
      one:write(kind)
      two:write(kind)
      task.sleep(0)
      if kind ~= "e" then -- both still live, one of them in C
        local four = plane.client(built.s)
        assert.is_nil((four:read()))
        four:close()
      end
      one:write "bye"
      two:write "bye"
      one:read()
      two:read()
      one:close()
      two:close()
      three:close()
      helpers.pass()
    end
  end))
end)
