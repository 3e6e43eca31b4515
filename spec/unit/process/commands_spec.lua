local commands = require "tidegate.process.commands"

describe("commands.words", function()
  for line, words in pairs {
    ["echo pre-up"] = { "echo", "pre-up" },
    ["  a   b "] = { "a", "b" },
    [ [[sh -c 'echo "x y"' ]] ] = { "sh", "-c", 'echo "x y"' },
    [ [[a "b c" d\ e '']] ] = { "a", "b c", "d e", "" },
    [ [["a\"b" 'c\d']] ] = { 'a"b', "c\\d" },
    [""] = {},
  } do
    it(("splits %q"):format(line), function()
      assert.same(words, commands.words(line))
    end)
  end

  it("refuses an open quote", function()
    assert.is_nil(commands.words "echo 'x")
  end)
end)
