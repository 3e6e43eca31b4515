local crc32 = require "tidegate.chain.crc32"
local health = require "tidegate.chain.health"
local mark = require "tidegate.chain.mark"
local selector = require "tidegate.chain.selector"
local shared = require "tidegate.native.shared"

local unique = 0

local function fresh(config, custom)
  unique = unique + 1
  return selector.new(config, "spec-" .. unique, { strategies = custom })
end

local function items(...)
  local list = {}
  for i, fields in ipairs { ... } do
    fields.name = tostring(i)
    list[i] = fields
  end
  return list
end

local function pick(s, list, times, ctx)
  local out = {}
  for i = 1, times do
    local item = s:select(list, ctx)
    out[i] = item and item.name or "-"
  end
  return table.concat(out)
end

local function failing(max_fails, timeout)
  unique = unique + 1
  return mark.new("spec-mark-" .. unique, max_fails, timeout)
end

describe("selector", function()
  it("goes round, beginning with the first", function()
    assert.same("123123", pick(fresh(), items({}, {}, {}), 6))
    assert.same("1212", pick(fresh { strategy = "rr" }, items({}, {}), 4))
  end)

  it("shares the round among those of one name", function()
    unique = unique + 1
    local list = items({}, {}, {})
    local one, two = selector.new(nil, "spec-" .. unique), selector.new(nil, "spec-" .. unique)
    assert.same("1", pick(one, list, 1))
    assert.same("2", pick(two, list, 1))
    assert.same("3", pick(one, list, 1))
  end)

  it("takes an unknown strategy for round", function()
    assert.same("1212", pick(fresh { strategy = "what" }, items({}, {}), 4))
  end)

  for _, strategy in ipairs { "fifo", "ha" } do
    it(strategy .. " takes the first that works", function()
      local list = items({ mark = failing() }, {}, {})
      local s = fresh { strategy = strategy }
      assert.same("111", pick(s, list, 3))
      list[1].mark:fail()
      assert.same("222", pick(s, list, 3))
      list[1].mark:ok()
      assert.same("1", pick(s, list, 1))
    end)
  end

  it("draws by weight", function()
    local list = items({ weight = 3 }, {})
    local count = select(2, pick(fresh { strategy = "rand" }, list, 4000):gsub("1", ""))
    assert.is_true(count > 2800 and count < 3200, tostring(count))
  end)

  it("hashes the user, else the source", function()
    local list = items({}, {}, {}, {}, {})
    local s = fresh { strategy = "hash" }
    local function at(ctx)
      return pick(s, list, 1, ctx)
    end
    assert.same(tostring(crc32 "alice" % 5 + 1), at { user = "alice", hash_source = "1.2.3.4" })
    assert.same(tostring(crc32 "1.2.3.4" % 5 + 1), at { user = "", hash_source = "1.2.3.4" })
    assert.is_truthy(at {}:find "^[1-5]$")
  end)

  it("computes CRC-32", function()
    assert.same(0xcbf43926, crc32 "123456789")
    assert.same(0, crc32 "")
  end)

  it("asks backups only when all others failed", function()
    local list = items({ backup = true }, { mark = failing() }, { mark = failing() })
    local s = fresh()
    assert.is_nil(pick(s, list, 10):find "1")
    list[2].mark:fail()
    assert.same("333", pick(s, list, 3))
    list[3].mark:fail()
    assert.same("111", pick(s, list, 3))
  end)

  it("finds nothing when all of several failed", function()
    local list = items({ mark = failing() }, { mark = failing() })
    list[1].mark:fail()
    list[2].mark:fail()
    assert.same("-", pick(fresh(), list, 1))
    assert.same("1", pick(fresh(), { list[1] }, 1))
  end)

  it("follows the failures it was told to", function()
    local list = items({ mark = failing() }, {})
    local s = fresh { strategy = "fifo", maxFails = 2 }
    list[1].mark:fail()
    assert.same("1", pick(s, list, 1))
    list[1].mark:fail()
    assert.same("2", pick(s, list, 1))
  end)

  it("lets an item have limits of its own", function()
    local list = items({ mark = failing(3) }, {})
    local s = fresh { strategy = "fifo", maxFails = 1 }
    list[1].mark:fail()
    list[1].mark:fail()
    assert.same("1", pick(s, list, 1))
    list[1].mark:fail()
    assert.same("2", pick(s, list, 1))
  end)

  it("asks the strategies of scripts", function()
    local s = fresh({ strategy = "last" }, { last = function(list) return list[#list] end })
    assert.same("333", pick(s, items({}, {}, {}), 3))
  end)

  -- Items whose last probes took that long; false: failed, 0: not probed.
  local function probed(...)
    local list = {}
    for i, latency in ipairs { ... } do
      unique = unique + 1
      list[i] = { name = tostring(i), health = health.new("spec-" .. unique) }
      if latency ~= 0 then
        list[i].health:note(latency or nil)
      end
    end
    return list
  end

  for _, strategy in ipairs { "lowestlatency", "lowest", "ll" } do
    it(strategy .. " takes the fastest of those whose probe succeeded", function()
      local s = fresh { strategy = strategy }
      assert.same("33", pick(s, probed(0.03, 0, 0.01, false), 2))
      assert.same("11", pick(s, probed(0, false, 0), 2))
      assert.same("11", pick(s, probed(false, false), 2))
    end)
  end

  it("leaves slow and failed ones out, not those without a result", function()
    local s = fresh { maxLatency = 0.02 }
    assert.same("2323", pick(s, probed(0.03, 0.01, 0, false), 4))
    assert.same("1", pick(s, probed(0.03), 1))
  end)

  it("goes by slow ones rather than by none", function()
    assert.same("1212", pick(fresh { maxLatency = 0.02 }, probed(0.03, 0.04), 4))
  end)

  -- Items with so many connections, and an average latency.
  local function loaded(...)
    local list = {}
    for i, fields in ipairs { ... } do
      unique = unique + 1
      list[i] = {
        name = tostring(i), weight = fields.weight,
        load = shared.counter("spec-load-" .. unique), latency = shared.latency("spec-latency-" .. unique),
      }
      list[i].load:add(fields[1])
      if fields[2] then
        list[i].latency:note(fields[2])
      end
    end
    return list
  end

  it("says what its strategy has to look at", function()
    assert.same({ load = true }, fresh { strategy = "leastconn" }.needs)
    assert.same({ load = true }, fresh { strategy = "p2c" }.needs)
    assert.same({ load = true, latency = true }, fresh { strategy = "ewma" }.needs)
    assert.same({}, fresh().needs)
  end)

  it("takes the one with the fewest connections", function()
    local s = fresh { strategy = "leastconn" }
    assert.same("22", pick(s, loaded({ 3 }, { 1 }, { 2 }), 2))
    assert.same("11", pick(s, loaded({ 3, weight = 4 }, { 1 }, { 2 }), 2))
  end)

  it("takes turns among equally busy ones", function()
    local list = loaded({ 0 }, { 0 }, { 0 })
    local s, count = fresh { strategy = "leastconn" }, {}
    for name in pick(s, list, 300):gmatch "." do
      count[name] = (count[name] or 0) + 1
    end
    assert.same({ ["1"] = 100, ["2"] = 100, ["3"] = 100 }, count)
  end)

  it("fills all alike when connections stay", function()
    local list, s = loaded({ 0 }, { 0 }, { 0 }), fresh { strategy = "leastconn" }
    for _ = 1, 31 do
      s:select(list).load:add(1)
    end
    for _, item in ipairs(list) do
      assert.is_true(item.load:get() >= 10 and item.load:get() <= 11)
    end
  end)

  it("takes the less busy of two at random", function()
    local s = fresh { strategy = "p2c" }
    assert.is_nil(pick(s, loaded({ 9 }, { 1 }), 20):find "1")
    local picks = pick(s, loaded({ 9 }, { 1 }, { 5 }), 200)
    assert.is_nil(picks:find "1")
    assert.is_truthy(picks:find "2")
    assert.is_truthy(picks:find "3")
  end)

  it("takes the one where a connection is expected to wait least", function()
    local s = fresh { strategy = "ewma" }
    assert.same("22", pick(s, loaded({ 0, 0.2 }, { 0, 0.05 }), 2))
    assert.same("11", pick(s, loaded({ 0, 0.2 }, { 9, 0.05 }), 2))
    assert.same("22", pick(s, loaded({ 0, 0.2 }, { 0 }), 2)) -- nothing known of it: tried
  end)

  it("gives all candidates to a race with parallel", function()
    local list = items({}, {}, {})
    local chosen = fresh { strategy = "parallel" }:select(list)
    assert.same(list, chosen.racers)
    assert.equal(list[1], fresh { strategy = "parallel" }:select { list[1] })
  end)

  it("takes turns among chains and hops where a strategy is for nodes alone", function()
    for _, strategy in ipairs { "parallel", "ll", "leastconn", "p2c", "ewma" } do
      unique = unique + 1
      local s = selector.new({ strategy = strategy, maxLatency = 1 }, "spec-" .. unique, { of_group = true })
      assert.same("1212", pick(s, items({}, {}), 4))
    end
  end)

  it("asks the filters of scripts, and fails when they leave nothing", function()
    local filters = {
      odd = function(list) return { list[1], list[3] } end,
      none = function() return {} end,
      broken = function() end,
    }
    local function with(...)
      unique = unique + 1
      return selector.new({ filters = { ... } }, "spec-" .. unique, { filters = filters })
    end
    assert.same("1313", pick(with "odd", items({}, {}, {}), 4))
    assert.same("123", pick(with "unknown", items({}, {}, {}), 3))
    for _, name in ipairs { "none", "broken" } do
      local item, err = with("odd", name):select(items({}, {}, {}))
      assert.is_nil(item)
      assert.same("blocked", err.code)
      assert.is_truthy(tostring(err):find(name, 1, true))
    end
  end)
end)
