-- pairs() and next(), which are ours where LuaJIT's compiler cannot be trusted with its own.

describe("pairs and next", function()
  it("go through every member once, in loops that are hot as well", function()
    local all = {}
    for i = 1, 300 do
      all["key" .. i] = i
    end
    for _ = 1, 300 do
      local seen, sum = {}, 0
      for key, value in pairs(all) do
        assert.is_nil(seen[key])
        seen[key] = true
        sum = sum + value
      end
      assert.equal(45150, sum)
    end
    assert.is_nil(next {})
    assert.same({ 1, "one" }, { next { "one" } })
    assert.is_nil((next({ "one" }, 1)))
  end)

  it("allow that members are changed and removed meanwhile", function()
    local all = { a = 1, b = 2, c = 3 }
    for key, value in pairs(all) do
      all[key] = value > 1 and value * 2 or nil
    end
    assert.same({ b = 4, c = 6 }, all)
  end)

  it("name the place of what they cannot go through", function()
    local ok, err = pcall(function()
      for _ in pairs(nil) do
        error "never"
      end
    end)
    assert.is_false(ok)
    assert.matches("pairs_spec%.lua:%d+: bad argument #1 to 'pairs' %(table expected, got nil%)", err)
    assert.is_false(pcall(next, { a = 1 }, "b"))
  end)
end)
