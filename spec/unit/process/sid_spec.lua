local sid = require "tidegate.process.sid"

describe("connection ids", function()
  it("are 20 characters of 0-9a-v, and differ", function()
    local seen = {}
    for _ = 1, 5000 do
      local id = sid.new()
      assert.is_truthy(id:find("^[0-9a-v]+$") and #id == 20)
      assert.is_nil(seen[id])
      seen[id] = true
    end
  end)

  it("begin with the time", function()
    local function value(id) -- the first 30 bits of 32
      local n = 0
      for char in id:sub(1, 6):gmatch "." do
        n = n * 32 + (("0123456789abcdefghijklmnopqrstuv"):find(char, 1, true) - 1)
      end
      return n * 4
    end
    assert.is_true(math.abs(value(sid.new()) - os.time()) <= 5)
  end)

  it("begin also when descriptors have run out", function()
    local open = io.open
    io.open = function() return nil, "Too many open files" end -- luacheck: ignore
    local ok, id = pcall(function()
      package.loaded["tidegate.process.sid"] = nil
      return require("tidegate.process.sid").new()
    end)
    io.open = open -- luacheck: ignore
    assert.is_true(ok, id)
    assert.equal(20, #id)
  end)
end)
