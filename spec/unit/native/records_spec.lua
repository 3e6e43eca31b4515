local helpers = require "spec.helpers"
local queue = require "tidegate.policy.recorder.queue" -- whom arrivals are told
local records = require "tidegate.native.records"
local shared = require "tidegate.native.shared"

assert(queue)

describe("a store of records", function()
  local serial = 0

  -- An owner whose lane is at work already, so that nobody takes what the spec puts.
  local function store(most, bytes)
    serial = serial + 1
    local name = "spec/records/" .. serial
    local owner = { lanes = 1, full = { bad = function() end } }
    local total, dropped = shared.counter(name), shared.counter(name .. "/dropped")
    owner.store = records.new(owner, ";", most, bytes, total, dropped)
    return owner.store, total, dropped
  end

  it("gives them in batches, each with its separator", helpers.task(function()
    local s, total = store(100, 1e6)
    for i = 1, 5 do
      assert.is_true(s:put("r" .. i))
    end
    assert.equal(5, s:waiting())
    assert.same({ "r1;r2;", 2 }, { s:take(10, 4) })
    assert.is_true(s:put "late")
    assert.same({ "r3;r4;r5;late;", 4 }, { s:take(10) })
    assert.is_nil((s:take(10)))
    assert.is_true(s:put "again")
    assert.same({ "again;", 1 }, { s:take(10) })
    assert.equal(7, total:get())
  end))

  it("knows how many of a batch begin within some bytes", helpers.task(function()
    local s = store(100, 1e6)
    for i = 1, 3 do
      s:put("r" .. i)
    end
    s:take(3)
    assert.equal(0, s:begun(0))
    assert.equal(1, s:begun(1))
    assert.equal(1, s:begun(3))
    assert.equal(2, s:begun(4))
    assert.equal(3, s:begun(100))
  end))

  it("drops and counts what is too many or too much", helpers.task(function()
    local s, total, dropped = store(2, 1000)
    assert.is_true(s:put "a")
    assert.is_false(s:put(("x"):rep(1000)))
    assert.same({ 1, true }, { s:waiting() })
    assert.is_true(s:put "b")
    assert.is_false(s:put "c")
    assert.equal(2, dropped:get())
    assert.equal(4, total:get())
    assert.same({ "a;b;", 2 }, { s:take(10) })
    assert.same({ 0, false }, { s:waiting() })
    assert.is_true(s:put "d")
  end))
end)
