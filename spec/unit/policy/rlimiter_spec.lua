-- Rate limiters.  Spec: policy 17.3.

local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local rlimiter = require "tidegate.policy.rlimiter"
local task = require "tidegate.native.task"

local names = 0

-- A function that asks for a client.
local function asker(limits, data)
  names = names + 1
  local made = assert(rlimiter.new({ name = "unit" .. names, limits = limits }, { data = data }))
  return function(ip)
    return made:allow { client_ip = ip, client = ip .. ":1" }
  end, made
end

local function allowed(ask, ip, count)
  local found = 0
  for _ = 1, count do
    found = found + (ask(ip) and 1 or 0)
  end
  return found
end

local A, B = "10.0.0.1", "10.1.0.1"

-- name, limits, how many of 9 of A, then of 9 of B are allowed at once
local CASES = {
  { "begins with floor(R) + 1", { "$$ 2" }, 3, 3 },
  { "takes fractions", { "$$ 0.01" }, 1, 1 },
  { "takes fractions above one", { "$$ 3.9" }, 4, 4 },
  { "$ is shared by all", { "$ 4" }, 5, 0 },
  { "an IP has its own rate", { "$$ 1", "10.0.0.1 4" }, 5, 2 },
  { "a CIDR has a bucket for each client", { "10.0.0.0/8 2" }, 3, 3 },
  { "the longest prefix wins", { "10.0.0.0/8 1", "10.1.0.0/16 4" }, 2, 5 }, -- [Q]
  { "all must have a token", { "$ 6", "$$ 2" }, 3, 3 },
  { "the later line wins", { "$$ 5", "$$ 1" }, 2, 2 },
  { "nonsense is ignored", { "$ 0", "$$ -1", "10.0.0.1 many", "x 1", "$" }, 9, 9 },
}

describe("a rate limiter", function()
  for _, case in ipairs(CASES) do
    it(case[1], function()
      local ask = asker(case[2])
      assert.equal(case[3], allowed(ask, A, 9))
      assert.equal(case[4], allowed(ask, B, 9))
    end)
  end

  it("takes from the slower bucket first, and keeps what it took", function()
    local ask = asker { "$ 5", "$$ 1" }
    assert.equal(2, allowed(ask, A, 9)) -- refused by its own bucket: the shared one pays for two
    assert.equal(2, allowed(ask, B, 9))
    assert.equal(2, allowed(ask, "10.2.0.1", 9))
    assert.equal(0, allowed(ask, "10.3.0.1", 1))
  end)

  it("lets tokens gather again", helpers.task(function()
    local ask = asker { "$$ 100" }
    local first = allowed(ask, A, 200)
    assert.is_true(first >= 101 and first < 200, first)
    task.sleep(0.05)
    assert.is_true(allowed(ask, A, 200) >= 4)
  end))

  it("follows its items", function()
    local ask, made = asker({}, { file = { "$$ 1" } })
    assert.equal(2, allowed(ask, A, 9))
    made:load { file = { "$$ 1000000" } }
    assert.equal(9, allowed(ask, B, 9))
    made:load {}
    assert.equal(9, allowed(ask, A, 9))
  end)
end)

describe("a service with a rate limiter", function()
  after_each(plane.cleanup)

  it("closes connections beyond it before their handler begins", helpers.task(function()
    local begun = 0
    plane.declare("handler", "counted", {
      handle = function(_, _, client)
        begun = begun + 1
        return client:write "hello"
      end,
    })
    local built, problems = plane.build {
      rlimiters = { { name = "three", limits = { "$ 2" } } },
      services = { { name = "s", addr = ":1", rlimiter = "three", handler = { type = "counted" } } },
    }
    assert.same({}, problems)
    local greeted = 0
    for _ = 1, 6 do
      local client = plane.client(built.s)
      greeted = greeted + (client:read() == "hello" and 1 or 0)
      client:close()
    end
    assert.equal(3, greeted)
    assert.equal(3, begun)
  end))
end)
