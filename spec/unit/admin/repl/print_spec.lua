local print = require "tidegate.admin.repl.print"

describe("admin.repl.print", function()
  it("prints values as one would write them", function()
    assert.equal('{ 1, 2, a = "x", b = { true } }', print.text { 1, 2, a = "x", b = { true } })
    assert.equal('{ [10] = 1, ["a b"] = 2 }', print.text { [10] = 1, ["a b"] = 2 })
    assert.equal([["a\nb\0"]], print.text "a\nb\0")
  end)

  it("names circles and stops at a depth", function()
    local t = { name = "t" }
    t.self = t
    assert.equal('{ name = "t", self = <circle> }', print.text(t))
    assert.equal("{ { {…} } }", print.text({ { { { 1 } } } }, 2))
  end)

  it("cuts long tables and texts", function()
    local t = {}
    for i = 1, 100 do
      t[i] = i
    end
    assert.matches("60,\n  … and 40 more\n}$", print.text(t))
    assert.matches("… %(5000 bytes%)$", print.text(("x"):rep(5000)))
  end)

  it("survives values that cannot be printed", function()
    local t = setmetatable({}, { __tostring = function()
      error "no"
    end })
    assert.equal("<cannot be printed>", print.text(t))
  end)
end)
