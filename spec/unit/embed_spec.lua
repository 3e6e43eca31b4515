local embed = require "tidegate.native.embed"

describe("native.embed", function()
  it("lists the embedded modules in order", function()
    local names = embed.modules()
    local sorted = { unpack(names) }
    table.sort(sorted)
    assert.same(sorted, names)
    local known = {}
    for _, name in ipairs(names) do known[name] = true end
    assert.is_true(known["tidegate.failure"])
    assert.is_true(known["tidegate"])
  end)

  it("keeps file names and line numbers in tracebacks", function()
    local _, message = pcall(require("tidegate.failure").new, nil, nil, 1)
    assert.matches("^tidegate/failure%.lua:%d+: ", message)
  end)
end)
