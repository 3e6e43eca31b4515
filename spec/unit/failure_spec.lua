local failure = require "tidegate.failure"

describe("failure", function()
  it("prints code-independent, readable lines", function()
    local cases = {
      { failure.new("refused", "Connection refused"), "Connection refused" },
      {
        failure.new("refused", "Connection refused", { layer = "tcp", op = "connect" }),
        "tcp connect: Connection refused",
      },
      {
        failure.new("refused", "no", { layer = "tcp", op = "connect", addr = "10.0.0.1:80" }),
        "tcp connect 10.0.0.1:80: no",
      },
      { failure.new("timeout"), "timeout" },
      { failure.new("config", "two\n  lines"), "two; lines" },
    }
    for _, case in ipairs(cases) do
      assert.same(case[2], tostring(case[1]))
    end
  end)

  it("wraps without losing code and cause", function()
    local inner = failure.new("auth", "bad password", { layer = "socks5", addr = "a:1" })
    local outer = inner:during("greeting"):during("dial")
    assert.same({ "auth", "dial" }, { outer.code, outer.op })
    assert.same(inner, outer:root())
    assert.same("socks5 dial a:1: greeting: bad password", tostring(outer))
  end)

  it("takes any value for an error", function()
    assert.same({ "io", "boom" }, { failure.wrap("boom").code, failure.wrap("boom").message })
    assert.same("config", failure.wrap("boom", "config").code)
    assert.same("unknown error", tostring(failure.wrap(nil)))
    local err = failure.new("eof")
    assert.equal(err, failure.wrap(err))
    assert.is_true(failure.is(failure.wrap { code = "tls" }))
    assert.is_false(failure.is("text"))
  end)
end)
