local sd = require "tidegate.policy.sd"

local function record(id, name, node, address)
  return { id = id, name = name, node = node, network = "tcp", address = address or "192.0.2.1:1" }
end

describe("sd", function()
  local one

  before_each(function()
    one = assert(sd.new { name = "spec" })
    one.dict:clear()
  end)

  it("knows what was registered, in every worker", function()
    assert(one:register(nil, record("1", "a", "n1")))
    assert(one:register(nil, record("2", "a", "n2", "192.0.2.2:2")))
    assert(one:register(nil, record("3", "b", "n1")))
    local other = assert(sd.new { name = "spec" })
    assert.same({ record("1", "a", "n1"), record("2", "a", "n2", "192.0.2.2:2") }, other:get(nil, "a"))
    assert.same({}, other:get(nil, "c"))
    assert.same({}, assert(sd.new { name = "another" }):get(nil, "a"))
  end)

  it("forgets what was deregistered", function()
    one:register(nil, record("1", "a", "n1"))
    assert.is_true(one:deregister(nil, { id = "1", name = "a", node = "n1" }))
    assert.is_true(one:deregister(nil, { id = "1", name = "a", node = "n1" }))
    assert.same({}, one:get(nil, "a"))
  end)

  it("keeps what is renewed, and knows again what was forgotten", function()
    one:register(nil, record("1", "a", "n1"))
    assert.is_true(one:renew(nil, { id = "1", name = "a", node = "n1" }))
    assert.same("192.0.2.1:1", one:get(nil, "a")[1].address)
    one:deregister(nil, record("1", "a", "n1"))
    assert.is_true(one:renew(nil, record("1", "a", "n1")))
    assert.same(1, #one:get(nil, "a"))
  end)

  it("does not take one name for another", function()
    one:register(nil, record("1", "a b", "n"))
    one:register(nil, record("1", "a", "b n"))
    one:register(nil, record("b n 1", "a", ""))
    assert.same(1, #one:get(nil, "a b"))
    assert.same(2, #one:get(nil, "a"))
  end)

  it("wants a name", function()
    local ok, err = one:register(nil, record("1", "", "n"))
    assert.same({ nil, "invalid" }, { ok, err.code })
  end)

  it("asks scripts, for what they have", function()
    local s = sd.scripted {
      get = function(_, _, name)
        return { { name = name } }
      end,
    }
    assert.same({ { name = "x" } }, s:get(nil, "x"))
    assert.is_true(s:register(nil, {}))
    assert.is_true(s:deregister(nil, {}))
  end)
end)
