local signature = require "tidegate.process.signature"

describe("signature", function()
  it("does not depend on the order of keys", function()
    local a, b = {}, {}
    for i = 1, 20 do
      a["k" .. i] = i
    end
    for i = 20, 1, -1 do
      b["k" .. i] = i
    end
    assert.equal(signature.of(a), signature.of(b))
  end)

  it("tells a number from its text", function()
    assert.not_equal(signature.of { 1 }, signature.of { "1" })
  end)

  it("changes for every service when a chain changes, for one when that one does", function()
    local function config(port, chain)
      return { services = { { name = "a", addr = port }, { name = "b" } }, chains = { { name = chain } } }
    end
    local old, new = signature.of_services(config(":1", "x")), signature.of_services(config(":2", "x"))
    assert.not_equal(old.a, new.a)
    assert.equal(old.b, new.b)
    assert.not_equal(old.b, signature.of_services(config(":1", "y")).b)
  end)
end)
