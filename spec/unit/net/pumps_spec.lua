-- Two streams joined piece by piece.

local helpers = require "spec.helpers"
local pumps = require "tidegate.net.pumps"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local function read(from)
  return from:read()
end

-- Join the inner ends of two pairs.  @return outer ends, pieces seen, function that waits for the result
local function joined(idle, receive)
  local a, inner_a = stream.pair()
  local b, inner_b = stream.pair()
  local seen = {}
  local done = helpers.spawn(function()
    local ok, err = pumps.join(inner_a, inner_b, receive or read, function(bytes, up)
      seen[#seen + 1] = (up and ">" or "<") .. bytes
    end, idle)
    return { ok = ok, err = err }
  end)
  return a, b, seen, done
end

describe("pumps", function()
  it("carry and show both ways, and pass on each end", helpers.task(function()
    local a, b, seen, done = joined()
    a:write "ask"
    assert.equal("ask", b:read())
    a:shutdown()
    assert.equal("eof", select(2, b:read()).code)
    b:write "late answer"
    assert.equal("late answer", a:read())
    b:close()
    assert.equal("eof", select(2, a:read()).code)
    assert.same({ ok = true }, done())
    assert.same({ ">ask", "<late answer" }, seen)
    a:close()
  end))

  it("end when neither side has said anything for so long", helpers.task(function()
    local a, b, seen, done = joined(500)
    for _ = 1, 4 do
      task.sleep(0.2)
      a:write "x" -- the other direction is silent for longer
      b:read()
    end
    assert.same({ ok = true }, done())
    assert.equal(4, #seen)
    a:close()
    b:close()
  end))

  it("close both when one fails", helpers.task(function()
    local a, b, _, done = joined(nil, function(from)
      local bytes, err = from:read_exact(2)
      if bytes == "no" then
        return nil, require("tidegate.failure").new("protocol", "no")
      end
      return bytes, err
    end)
    a:write "no"
    assert.equal("protocol", done().err.code)
    assert.equal("eof", select(2, b:read()).code)
    a:close()
    b:close()
  end))
end)
