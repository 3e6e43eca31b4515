local stage = require "tidegate.stage"
require "tidegate.process.service" -- defines what the stages do

describe("stages", function()
  it("are the plain functions while nobody hooks them", function()
    local one, two = stage.set(), stage.set()
    for _, name in ipairs(stage.NAMES) do
      assert.equal(one[name], two[name])
      assert.is_nil(one.hooked[name])
    end
  end)

  it("go through hooks, the last added first", function()
    local set, seen = stage.set(), {}
    set.admit = function(_, text)
      seen[#seen + 1] = "base " .. text
      return text
    end
    for _, name in ipairs { "inner", "outer" } do
      stage.on(set, "admit", function(next, ctx, text)
        seen[#seen + 1] = name
        return next(ctx, text .. "!")
      end)
    end
    assert.same("x!!", set.admit({}, "x"))
    assert.same({ "outer", "inner", "base x!!" }, seen)
    assert.is_true(set.hooked.admit)
  end)

  it("of one set do not hear hooks of another", function()
    local hooked, plain = stage.set(), stage.set()
    stage.on(hooked, "route", function() end)
    assert.not_equal(hooked.route, plain.route)
  end)

  it("have known names", function()
    assert.is_true(stage.is_stage "resolve")
    assert.is_false(stage.is_stage "nonsense")
    assert.has_error(function()
      stage.on(stage.set(), "nonsense", print)
    end)
  end)
end)
