-- What counts as an error of a service.  Spec: policy 22.

local failure = require "tidegate.failure"
local shared = require "tidegate.native.shared"
local stats = require "tidegate.process.stats"

describe("errors of handlers", function()
  for code, counts in pairs {
    eof = false, closed = false, canceled = false, timeout = false, blocked = false, limit = false,
    refused = true, reset = true, unreachable = true, io = true, protocol = true, auth = true, resolve = true,
    tls = true, config = true, unsupported = true,
  } do
    it(("%s %s"):format(code, counts and "count" or "do not count"), function()
      local total = shared.counter("stats-spec/" .. code)
      stats.failed({ stats = { totalErrs = total } }, failure.new(code, "x"))
      assert.equal(counts and 1 or 0, total:get())
    end)
  end

  it("are of no interest where nothing is counted", function()
    stats.failed({}, failure.new("io", "x"))
  end)
end)
