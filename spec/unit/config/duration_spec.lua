local duration = require "tidegate.config.duration"

describe("config.duration", function()
  it("parses Go's syntax", function()
    for text, seconds in pairs {
      ["30s"] = 30, ["1m"] = 60, ["1h30m"] = 5400, ["1.5s"] = 1.5, ["-2s"] = -2, ["0"] = 0,
      ["100ms"] = 0.1, ["1m0s"] = 60, [".5s"] = 0.5, ["+1s"] = 1,
    } do
      assert.near(seconds, duration.parse(text), 1e-12, text)
    end
    for _, text in ipairs { "", "10", "s", "1x", "1s2", ".s", "1..2s", "abc", "1 s" } do
      assert.is_nil(duration.parse(text), text)
    end
  end)

  it("prints as Go does", function()
    for text, seconds in pairs {
      ["0s"] = 0, ["10ns"] = 1e-8, ["1.5\194\181s"] = 1.5e-6, ["100ms"] = 0.1, ["1.5s"] = 1.5,
      ["30s"] = 30, ["1m0s"] = 60, ["1h0m0s"] = 3600, ["8760h0m0s"] = 31536000, ["-1m30s"] = -90,
    } do
      assert.same(text, duration.format(seconds))
    end
    assert.same(10, duration.nanoseconds(1e-8))
    assert.same(30e9, duration.nanoseconds(30))
  end)
end)
