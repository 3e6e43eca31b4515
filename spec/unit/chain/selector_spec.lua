local mark = require "tidegate.chain.mark"
local selector = require "tidegate.chain.selector"

local unique = 0

local function fresh(config, custom)
  unique = unique + 1
  return selector.new(config, "spec-" .. unique, custom)
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
    assert.same(tostring(selector.crc32 "alice" % 5 + 1), at { user = "alice", hash_source = "1.2.3.4" })
    assert.same(tostring(selector.crc32 "1.2.3.4" % 5 + 1), at { user = "", hash_source = "1.2.3.4" })
    assert.is_truthy(at {}:find "^[1-5]$")
  end)

  it("computes CRC-32", function()
    assert.same(0xcbf43926, selector.crc32 "123456789")
    assert.same(0, selector.crc32 "")
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
end)
