local regex = require "tidegate.native.regex"

-- pattern, texts it matches, texts it does not
local MATCHES = {
  { "", { "", "x" }, {} },
  { "b+", { "abc", "bb" }, { "ac" } },
  { "^a.c$", { "abc", "a\xc3\xa9c" }, { "abc\n", "a\nc", "xabc" } },
  { "(?s)a.c", { "a\nc" }, {} },
  { "(?m)^b$", { "a\nb\nc" }, { "ab" } },
  { "(?m)^", { "" }, {} },
  { "(?i)HeLLo", { "hello", "HELLO" }, { "hell" } },
  { "(?i:a)b", { "Ab" }, { "AB" } },
  { "a(?i)b|c", { "aB", "C" }, { "Ab" } },
  { "a\\z", { "ba" }, { "a\n" } },
  { "\\Aab", { "abc" }, { "cab" } },
  { "\\bfoo\\b", { "a foo b" }, { "afoo" } },
  { "(?P<year>\\d{4})-(?<month>\\d\\d)", { "2026-11" }, { "26-11" } },
  { "[[:alpha:]]+[^[:space:]\\d]", { "ab_" }, { "a1", "a " } },
  { "^[]a]+$", { "]a" }, { "b" } },
  { "^[a-]+$", { "a-" }, { "b" } },
  { "^[^a]$", { "\n", "b" }, { "a" } },
  { "^\\s$", { " ", "\t", "\f" }, { "\v" } },
  { "^[\\s]$", { " " }, { "\v" } },
  { "^\\S$", { "\v", "a" }, { " " } },
  { "^\\v$", { "\v" }, { "\n" } },
  { "^\\w\\W\\d\\D$", { "a-1-" }, { "\xc3\xa9-1-" } },
  { "^\\x41\\x{1F600}\\101\\0\\a\\t$", { "A\xf0\x9f\x98\x80A\0\a\t" }, { "A" } },
  { "^\\p{Greek}\\pN\\PL\\p{^Lu}$", { "\xce\xb113a" }, { "a13a", "\xce\xb113A" } },
  { "^\\Qa.b*\\E+$", { "a.b**" }, { "aXb*" } },
  { "^\\Qa.", { "a.b" }, { "ab" } },
  { "^a{2,3}$", { "aa", "aaa" }, { "a", "aaaa" } },
  { "^a{,2}{$", { "a{,2}{" }, { "aa" } },
  { "^a{2$", { "a{2" }, { "aa" } },
  { "^(?U)a+", { "aaa" }, {} },
  { "^(?:a|b|)c", { "ac", "bc", "c" }, { "dc" } },
  { "^\\.\\_\\-\\/\\@$", { "._-/@" }, { "x_-/@" } },
  { "^()$", { "" }, { "a" } },
  { "^\\C\\C$", { "\xff\xfe", "ab" }, { "a" } },
  { "\xc3\xa9+", { "caf\xc3\xa9\xc3\xa9" }, { "cafe" } },
  { "a", { "\xff\xffa" }, { "\xff" } },
}

local REFUSED = {
  { "(a)\\1", "backreferences are not supported: \\1", 4 },
  { "\\8", "backreferences" },
  { "\\k<n>", "backreferences" },
  { "(?P=n)", "backreferences" },
  { "a(?=b)", "look-around", 2 },
  { "a(?!b)", "look-around" },
  { "(?<=a)b", "look-around" },
  { "(?<!a)b", "look-around" },
  { "(?>a)", "unknown or unsupported kind of group" },
  { "(?#c)", "unknown or unsupported kind of group" },
  { "(?|a)", "unknown or unsupported kind of group" },
  { "(?x)a", "unknown or unsupported kind of group" },
  { "(?i-)a", "unknown or unsupported kind of group" },
  { "(?P<a-b>c)", "invalid name" },
  { "(?P<a>b)(?P<a>c)", "two groups are named a" },
  { "(a", "missing )", 1 },
  { "a)", "unexpected )", 2 },
  { "[a", "missing ]" },
  { "[]", "missing ]" },
  { "[z-a]", "invalid range" },
  { "[[:nope:]]", "unknown character class [:nope:]" },
  { "\\p{Nope}", "" },
  { "\\p{", "missing }" },
  { "*", "nothing to repeat: *", 1 },
  { "a|*", "nothing to repeat" },
  { "(+)", "nothing to repeat" },
  { "(*UTF)a", "nothing to repeat" },
  { "a**", "repetitions cannot be stacked" },
  { "a*+", "repetitions cannot be stacked" },
  { "a{2}{3}", "repetitions cannot be stacked" },
  { "a{1001}", "invalid counts of a repetition: {1001}", 2 },
  { "a{3,2}", "invalid counts" },
  { "(a{100}){11}", "repeats more than 1000 times" },
  { "a\\", "trailing backslash" },
  { "\\Z", "invalid escape sequence \\Z" },
  { "\\G", "invalid escape sequence" },
  { "\\h", "invalid escape sequence" },
  { "\\x1", "invalid escape sequence \\x" },
  { "\\x{110000}", "no such character" },
  { "\xff", "invalid UTF-8" },
  { "\\C\\pL", "\\C goes with ASCII only" },
  { ("("):rep(1001) .. (")"):rep(1001), "nested too deeply" },
}

describe("regular expressions", function()
  for _, row in ipairs(MATCHES) do
    it(("match by %q"):format(row[1]), function()
      local re = assert(regex.new(row[1]))
      for _, text in ipairs(row[2]) do
        assert.is_true(re:test(text), ("should match %q"):format(text))
      end
      for _, text in ipairs(row[3]) do
        assert.is_false(re:test(text), ("should not match %q"):format(text))
      end
    end)
  end

  for _, row in ipairs(REFUSED) do
    it(("refuse %s"):format(#row[1] > 40 and row[1]:sub(1, 20) .. "…" or ("%q"):format(row[1])), function()
      local re, err = regex.new(row[1])
      assert.is_nil(re)
      assert.same("invalid", err.code)
      assert.is_truthy(tostring(err):find(row[2], 1, true), tostring(err))
      if row[3] then
        assert.is_truthy(tostring(err):find(("(at character %d)"):format(row[3]), 1, true), tostring(err))
      end
    end)
  end

  it("tell where and what was found", function()
    local re = assert(regex.new "(a)(x)?(?P<n>b+)")
    assert.same({ 2, 4, "a", false, "bb" }, { re:find "zabb" })
    assert.same({ 6, 7, "a", false, "b" }, { re:find("zabb ab", 3) })
    assert.is_nil((re:find "q"))
    assert.is_nil((re:find("ab", 4)))
  end)

  for _, row in ipairs {
    { "a(x*)b", "-ab-axxb-", "${1}W", "-W-xxW-" },
    { "a(x*)b", "-ab-axxb-", "$1W", "---" },
    { "(?P<first>\\w+) (?P<last>\\w+)", "John Smith", "$last, ${first}!", "Smith, John!" },
    { "x*", "baac", "-", "-b-a-a-c-" },
    { "a+", "caat", "$0$0", "caaaat" },
    { "a", "aaa", "$$", "$$$" },
    { "a", "ba", "$", "b$" },
    { "(b)?a", "a", "[$1]", "[]" },
    { "", "\xc3\xa9\xc3\xa9", "-", "-\xc3\xa9-\xc3\xa9-" },
    { "z", "abc", "y", "abc" },
  } do
    it(("replace %q in %q by %q"):format(row[1], row[2], row[3]), function()
      assert.same(row[4], (assert(regex.new(row[1])):replace(row[2], row[3])))
    end)
  end

  it("count what they replace", function()
    assert.same(3, select(2, assert(regex.new "a"):replace("banana", "o")))
  end)

  it("give up rather than hang", function()
    local clock = os.clock()
    local re = assert(regex.new "(a|aa)+$")
    local found, err = re:test(("a"):rep(5000) .. "b")
    assert.is_nil(found)
    assert.same("limit", err.code)

    re = assert(regex.new "x.*[yz]") -- each place is cheap, but there are many
    found, err = re:test(("x"):rep(1e6))
    assert.is_nil(found)
    assert.same("limit", err.code)
    assert.is_true(os.clock() - clock < 2)
  end)

  it("search long texts", function()
    local re = assert(regex.new "needle\\d")
    local text = ("hay stack "):rep(2e5)
    assert.is_true(re:test(text .. "needle7"))
    assert.is_false(re:test(text .. "needle"))
    assert.same(2000001, (re:find(text .. "needle7")))
  end)
end)
