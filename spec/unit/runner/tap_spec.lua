local tap = require "spec.runner.tap"

describe("runner.tap", function()
  it("counts passed, failed and skipped tests and keeps what failures say", function()
    local counts = tap.parse(table.concat({
      "noise", "ok 1 - one", "not ok 2 - two", "# spec/x.lua @ 3", "# Failure message: no", "more noise",
      "ok 3 - # SKIP three", "not ok 4 - four", "1..4", "",
    }, "\n"))
    assert.equal(1, counts.passed)
    assert.equal(2, counts.failed)
    assert.equal(1, counts.skipped)
    assert.equal(4, counts.planned)
    assert.same({
      { "not ok 2 - two", "# spec/x.lua @ 3", "# Failure message: no" }, { "not ok 4 - four" },
    }, counts.failures)
  end)

  it("adds up the plans of several groups", function()
    local counts = tap.parse("1..1\nok 1 - a\n1..2\nok 1 - b\nok 2 - c\n")
    assert.equal(3, counts.planned)
    assert.equal(3, counts.passed)
  end)
end)
