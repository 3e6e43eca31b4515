local shared = require "tidegate.native.shared"

describe("native.shared", function()
  it("finds the same counter by its name", function()
    local a, b = shared.counter "spec", shared.counter "spec"
    a:add()
    b:add(4)
    assert.equal(5, a:get())
    assert.equal(5, b:reset())
    assert.equal(0, a:get())
    a:add(-3)
    assert.equal(-3, a:get())
    a:reset()
  end)

  it("limits by a bucket", function()
    local bucket = shared.bucket "spec"
    assert.equal(1e6, (bucket:take(1e6)))
    bucket:configure(1, 10)
    assert.equal(10, (bucket:take(12)))
    local taken, wait = bucket:take()
    assert.equal(0, taken)
    assert.is_true(wait > 900 and wait <= 1000)
    bucket:give_back(3)
    assert.equal(3, (bucket:take(12)))
  end)

  it("marks what fails", function()
    local mark = shared.mark "spec"
    assert.is_false(mark:failed(1, 10))
    mark:fail()
    assert.equal(1, mark:count())
    assert.is_true(mark:failed(1, 10))
    assert.is_false(mark:failed(2, 10))
    assert.is_false(mark:failed(1, 0))
    mark:reset()
    assert.is_false(mark:failed(1, 10))
  end)

  it("hands out tickets", function()
    local ticket = shared.ticket "spec"
    assert.equal(0, ticket:next())
    assert.equal(1, shared.ticket("spec"):next())
  end)

  describe("dict", function()
    local dict = shared.dict "spec"
    before_each(function() dict:clear() end)

    it("keeps strings, numbers and booleans apart", function()
      local long = ("x"):rep(5000)
      for key, value in pairs { a = "text", b = 1.5, c = true, d = false, e = "", f = long } do
        assert.is_true(dict:set(key, value))
        assert.equal(value, dict:get(key))
      end
      assert.is_nil(dict:get "none")
      assert.equal(6, dict:count())
      local keys = dict:keys()
      table.sort(keys)
      assert.same({ "a", "b", "c", "d", "e", "f" }, keys)
      assert.equal(2, #dict:keys(2))
      dict:set("a", nil)
      assert.is_true(dict:delete "b")
      assert.is_false(dict:delete "b")
      assert.equal(4, dict:count())
    end)

    it("counts", function()
      assert.equal(1, dict:incr "n")
      assert.equal(3, dict:incr("n", 2))
      assert.equal(11, dict:incr("m", 1, 10))
      dict:set("s", "text")
      assert.error_matches(function() dict:incr "s" end, "no number")
    end)

    it("outlives its handles", function()
      shared.dict("spec-kept"):set("k", "v")
      collectgarbage()
      collectgarbage()
      assert.equal("v", shared.dict("spec-kept"):get "k")
    end)

    it("says when it is full", function()
      local small = shared.dict "spec-small"
      small:limit(1000)
      local ok, err = small:set("k", ("x"):rep(2000))
      assert.is_nil(ok)
      assert.equal("limit", err.code)
    end)

    it("takes nothing but values", function()
      assert.error(function() dict:set("k", {}) end)
      assert.error(function() dict:set("k", 1, -1) end)
      assert.error(function() shared.counter(("x"):rep(256)) end)
    end)
  end)
end)
