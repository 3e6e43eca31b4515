-- Serial lines in records, and times in Go's layouts.

local clock = require "tidegate.process.clock"
local serial = require "tidegate.policy.recorder.serial"

local WHEN, NANOS = 1700000007, 120000000

describe("a serial record", function()
  it("is the bytes themselves, unless more is asked for", function()
    assert.equal("a\0b", serial.record("a\0b", "input", {}))
    assert.equal(">\nx", serial.record("x", "input", { direction = true }))
    assert.equal("<\nx", serial.record("x", "output", { direction = true }))
    assert.matches("^>%d%d:%d%d\nx$", serial.record("x", "input", { direction = true, time_format = "15:04" }))
    assert.matches("^%d%d%d%d\n$", serial.record("", "input", { time_format = "2006", hexdump = true }))
  end)

  it("can be a dump", function()
    assert.equal(
      "00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n"
      .. "00000010  67 00 ff                                          |g..|\n",
      serial.record("0123456789abcdefg\0\255", "input", { hexdump = true }))
  end)
end)

describe("times in Go's layouts", function()
  for layout, wanted in pairs {
    ["2006-01-02 15:04:05.000"] = "%Y-%m-%d %H:%M:%S.120",
    ["2006-01-02T15:04:05.999999999"] = "%Y-%m-%dT%H:%M:%S.12",
    ["02/Jan/2006:15:04:05 -0700"] = "%d/%b/%Y:%H:%M:%S %z",
    ["Monday, January 06 03:04PM MST"] = "%A, %B %y %I:%M%p %Z",
    ["20060102150405"] = "%Y%m%d%H%M%S",
    ["at noon,"] = "at noon,",
  } do
    it(layout, function()
      assert.equal(os.date(wanted, WHEN), clock.format(layout, WHEN, NANOS))
    end)
  end

  it("without zeros", function()
    assert.equal((os.date("%d.%m.", WHEN):gsub("0(%d)", "%1")), clock.format("2.1.", WHEN, NANOS))
    assert.equal("", clock.format(".999", WHEN, 0))
  end)

  it("as RFC 3339, with the digits that matter", function()
    local base = os.date("%Y-%m-%dT%H:%M:%S", WHEN)
    assert.equal(base .. ".12", clock.rfc3339(WHEN, NANOS):sub(1, #base + 3))
    assert.matches("^[Z+-]", clock.rfc3339(WHEN, 0):sub(#base + 1))
    assert.matches("^%.000000001[Z+-]", clock.rfc3339(WHEN, 1):sub(#base + 1))
  end)
end)
