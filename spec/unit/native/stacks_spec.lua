-- Samples of C stacks, while Lua and C do all sorts of things.

local base64 = require "tidegate.net.http.base64"
local stacks = require "tidegate.native.stacks"

-- On a CPU for a while: compiled Lua, the interpreter, calls from compiled Lua, errors that unwind the C stack.
local function work(seconds)
  local limit, sum = os.clock() + seconds, 0
  while os.clock() < limit do
    for i = 1, 20000 do
      sum = sum + i % 7
    end
    for i = 1, 200 do
      pcall(error, "x" .. i)
      sum = sum + #base64.encode(("y"):rep(i)) + #table.concat({ i, "z" }) + (tonumber("1" .. i) or 0)
    end
    table.sort({ 3, 1, 2, 5, 4 }, function(a, b)
      return a < b
    end)
  end
  return sum
end

describe("stacks of C", function()
  it("are counted, and have names", function()
    assert.is_true(stacks.start(1))
    assert.same({ nil, "a profile is being taken already" }, { stacks.start(1) })
    work(0.5)
    local found, lost = stacks.stop()
    assert.equal(0, lost)
    local samples, deep, named = 0, 0, stacks.names(found)
    for stack, count in pairs(named) do
      samples = samples + count
      deep = deep + (stack:find "^_?[%w_]*start[%w_]*;.*main;.*luajit" and count or 0)
      assert.is_nil(stack:find "[ \n;]$")
    end
    assert.is_true(samples > 20, samples .. " samples")
    assert.is_true(deep > 0, "none leads from the start of the process to Lua")
    assert.is_nil((stacks.stop()))
  end)

  it("can be looked at again and again", function()
    for _ = 1, 20 do
      assert.is_true(stacks.start(1))
      work(0.01)
      assert.is_table(stacks.names(stacks.stop()))
    end
  end)
end)
