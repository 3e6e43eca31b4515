local editor = require "tidegate.admin.repl.editor"

describe("admin.repl.editor", function()
  local shown, ed

  before_each(function()
    shown = {}
    ed = editor.new(function(text)
      shown[#shown + 1] = text
    end, function(line)
      local word = line:match "[%w_.]*$"
      local list = {}
      for _, name in ipairs { "tg.auther", "tg.authority", "table" } do
        list[#list + 1] = name:sub(1, #word) == word and name or nil
      end
      return word, list
    end, function()
      return 40
    end)
    ed:ask "> "
  end)

  it("edits a line and gives it back", function()
    assert.is_nil(ed:feed "helo")
    assert.is_nil(ed:feed "\27[D")
    ed:feed "l"
    ed:feed "\1>\5<"
    assert.same({ "line", ">hello<" }, { ed:feed "\r" })
  end)

  it("takes characters of several bytes as one", function()
    ed:feed "a\195\164\226\130\172"
    ed:feed "\127"
    assert.same({ "line", "a\195\164" }, { ed:feed "\r" })
  end)

  it("waits for the rest of a key", function()
    ed:feed "ab\27"
    ed:feed "[Dx"
    assert.same({ "line", "axb" }, { ed:feed "\r" })
  end)

  it("recalls what was typed before, and comes back to what was not finished", function()
    ed:feed "one\r"
    ed:ask "> "
    ed:feed "two\r"
    ed:ask "> "
    ed:feed "thr\27[A\27[A"
    assert.equal("one", ed.line)
    ed:feed "\27[B\27[B"
    assert.equal("thr", ed.line)
  end)

  it("completes as far as it is certain, then lists", function()
    ed:feed "x = tg.\t"
    assert.equal("x = tg.auth", ed.line)
    ed:feed "\t"
    assert.matches("tg.auther  tg.authority", table.concat(shown), 1, true)
    ed:feed "e\t"
    assert.equal("x = tg.auther", ed.line)
  end)

  it("cuts words and lines", function()
    ed:feed "one two three\23\23"
    assert.equal("one ", ed.line)
    ed:feed "\21"
    assert.equal("", ed.line)
    assert.equal("cancel", (ed:feed "\3"))
    assert.equal("end", (ed:feed "\4"))
  end)

  it("keeps the lines that follow in one piece of input", function()
    assert.same({ "line", "a" }, { ed:feed "a\rb\r" })
    ed:ask "> "
    assert.same({ "line", "b" }, { ed:feed "" })
  end)

  it("shows the part of a long line where the cursor is", function()
    ed:feed(("x"):rep(60) .. "END")
    assert.matches("^\r> x+END\27%[K", shown[#shown])
    assert.is_true(#shown[#shown]:match "> (x+END)" <= 38)
  end)
end)
