-- What repeated failures lead to.

local auth = require "tidegate.policy.auth"
local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local task = require "tidegate.native.task"

local in_task = helpers.task
local made = 0

local function people(lockout, log)
  made = made + 1
  return auth.new({
    name = "lockout-spec-" .. made,
    auths = { { username = "a", password = "right" }, { username = "b", password = "right" } },
    lockout = lockout,
  }, { log = log })
end

local function try(auther, ip, user, password)
  local id, err = auth.check(auther, { client_ip = ip }, user, password)
  return id, err and tostring(err)
end

describe("policy.auth's lockout", function()
  it("shuts one user from one address out after some failures, for a while", in_task(function()
    local said = {}
    local auther = people({ failures = 3, window = 60, duration = 2 }, { warn = function(_, text)
      said[#said + 1] = text
    end })
    for _ = 1, 3 do
      assert.is_nil(try(auther, "192.0.2.1", "a", "wrong"))
    end
    local id, why = try(auther, "192.0.2.1", "a", "right")
    assert.is_nil(id)
    assert.matches("locked out", why)
    assert.equal("b", try(auther, "192.0.2.1", "b", "right"))
    assert.equal("a", try(auther, "192.0.2.2", "a", "right"))
    assert.same({ 'user "a" from 192.0.2.1 is locked out for 2s after 3 failures' }, said)
    helpers.eventually(function()
      return try(auther, "192.0.2.1", "a", "right") == "a"
    end)
  end))

  it("forgets failures after a success, and after the window", in_task(function()
    local auther = people { failures = 2, window = 0.1, duration = 60 }
    for _ = 1, 3 do
      try(auther, "192.0.2.1", "a", "wrong")
      assert.equal("a", try(auther, "192.0.2.1", "a", "right"))
    end
    try(auther, "192.0.2.1", "a", "wrong")
    task.sleep(0.15)
    try(auther, "192.0.2.1", "a", "wrong")
    assert.equal("a", try(auther, "192.0.2.1", "a", "right"))
  end))

  it("takes a /64 of IPv6 for one address", in_task(function()
    local auther = people { failures = 2 }
    try(auther, "2001:db8:0:1::1", "a", "wrong")
    try(auther, "2001:db8:0:1::2", "a", "wrong")
    assert.is_nil((try(auther, "2001:db8:0:1::3", "a", "right")))
    assert.equal("a", try(auther, "2001:db8:0:2::3", "a", "right"))
  end))

  it("does not count who shows no credentials", in_task(function()
    local auther = people { failures = 1 }
    try(auther, "192.0.2.1", nil, nil)
    try(auther, "192.0.2.1", "", "")
    assert.equal("a", try(auther, "192.0.2.1", "a", "right"))
  end))

  it("makes failures slow", in_task(function()
    local auther = people { failures = 0, delay = 1 }
    local before = task.now()
    assert.equal("a", try(auther, "192.0.2.1", "a", "right"))
    assert.truthy(task.now() - before < 1000)
    assert.is_nil((try(auther, "192.0.2.1", "a", "wrong")))
    assert.truthy(task.now() - before >= 1000)
  end))

  it("holds for groups and across objects of one name", in_task(function()
    local one = people { failures = 2 }
    made = made - 1
    local other = people { failures = 2 }
    local group = auth.of({ authers = { "x", "gone" } }, { x = one })
    try(group, "192.0.2.1", "a", "wrong")
    try(other, "192.0.2.1", "a", "wrong")
    assert.is_nil((try(group, "192.0.2.1", "a", "right")))
    assert.is_nil((try(other, "192.0.2.1", "a", "right")))
  end))

  it("does not count what could not be told", in_task(function()
    local counted = 0
    local function member(err)
      return {
        check = function()
          return nil, err
        end,
        failed = function()
          counted = counted + 1
        end,
      }
    end
    local unsure = failure.new("busy", "too many")
    assert.is_nil((try(member(unsure), "192.0.2.1", "a", "x")))
    assert.equal(0, counted)
    assert.is_nil((try(member(), "192.0.2.1", "a", "x")))
    assert.equal(1, counted)
    local group = auth.of({ authers = { "one", "two" } }, { one = member(), two = member(unsure) })
    local _, why = try(group, "192.0.2.1", "a", "x")
    assert.equal(2, counted)
    assert.matches("too many", why)
  end))
end)
