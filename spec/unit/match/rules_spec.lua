local match = require "tidegate.native.match"

-- format, text, addresses that match, addresses that do not, notes
local ROWS = {
  { "patterns", "a.test # why\n\t.b.test\r\n#c.test\n\n10.0.0.0/8#x",
    "a.test x.b.test:1 10.1.1.1", "x.a.test c.test", 0 },
  { "plain", "a.test\n.b.test\n+.c.test\n*.d.test\n# e.test\n! f.test\n; g.test\n// h.test\n10.0.0.0/8\n1.1.1.1\n",
    "a.test x.a.test b.test x.b.test c.test x.d.test 10.2.2.2 1.1.1.1", "d.test e.test f.test g.test h.test", 0 },
  { "plain", "\239\187\191a.test\r\nb.test # comment\nno domain\n", "a.test b.test", "domain", 1 },
  { "dnsmasq", "server=/a.test/192.0.2.1#53\naddress=/b.test/c.test/0.0.0.0\nipset=/d.test/vpn\nnftset=/e.test/x\n"
    .. "local=/f.test/\nlisten-address=1.2.3.4\n#server=/g.test/1.1.1.1\n",
    "a.test x.a.test b.test c.test d.test x.e.test f.test", "g.test 192.0.2.1 vpn", 1 },
  { "hosts", "127.0.0.1 localhost\n0.0.0.0 a.test b.test # c.test\n::1 d.test\nfe80::1%lo0 localhost\n"
    .. "255.255.255.255 broadcasthost\n0.0.0.0 0.0.0.0\n",
    "a.test b.test d.test", "x.a.test c.test localhost 0.0.0.0 127.0.0.1", 0 },
  { "v2ray", "domain:a.test\nfull:b.test\nkeyword:secret\nc.test @ads\ndomain:d.test @cn # x\ninclude:other\n"
    .. "DOMAIN:e.test\ngeoip:private\n",
    "x.a.test b.test my-secret.org x.c.test d.test e.test 192.168.1.1", "x.b.test secre.org cn ads other", 1 },
  { "clash", "DOMAIN,a.test\nDOMAIN-SUFFIX,b.test,PROXY\nDOMAIN-KEYWORD,key,no-resolve\n"
    .. "IP-CIDR,10.0.0.0/8,DIRECT,no-resolve\n"
    .. "IP-CIDR6,2001:db8::/32\nGEOIP,LAN\nDST-PORT,80\nDOMAIN-WILDCARD,*.w.test\ndomain-suffix, c.test\n",
    "a.test x.b.test akeyb.org 10.1.1.1 [2001:db8::1]:1 192.168.1.1 x.w.test c.test", "x.a.test w.test PROXY", 1 },
  { "clash", "payload:\n  - '+.a.test'\n  - \"b.test\"\n  - DOMAIN-SUFFIX,c.test\n  - 10.0.0.0/8\n",
    "x.a.test b.test c.test 10.1.1.1", "payload", 0 },
  { "adblock", "||a.test^\n! comment\n||b.test^$third-party\n@@||c.test^\n[Adblock Plus]\n||d.test\n",
    "a.test x.a.test d.test", "b.test c.test", 3 },
  { "auto", "server=/a.test/1.1.1.1\n0.0.0.0 b.test\ndomain:c.test\nDOMAIN-SUFFIX,d.test\n||e.test^\nf.test\n"
    .. "10.0.0.0/8\n1.1.1.1-1.1.1.9\n+.g.test\n*.h.test\nkeyword:kw\n<html>\n",
    "x.a.test b.test x.c.test x.d.test x.e.test x.f.test 10.1.1.1 1.1.1.5 x.g.test x.h.test akwb.org",
    "x.b.test h.test", 1 },
  { "auto", "", "", "a.test", 0 },
  { "auto", "\n\n\r\n   \n", "", "a.test", 0 },
}

describe("native.match rules", function()
  for i, row in ipairs(ROWS) do
    it(("row %d: %s"):format(i, row[1]), function()
      local list, info = assert(match.compile { sources = { { text = row[2], format = row[1], name = "list" } } })
      assert.equal(row[5], info.note_count, table.concat(info.notes, "\n"))
      for address in row[3]:gmatch "%S+" do
        assert.is_true(list:contains(address), address)
      end
      for address in row[4]:gmatch "%S+" do
        assert.is_false(list:contains(address), address)
      end
      list:close()
    end)
  end

  it("leaves regular expressions to the caller", function()
    local list, info = assert(match.compile { sources = {
      { text = "regexp:^a[0-9]+\\.test$\nDOMAIN-REGEX,^b{1,2}\\.test$\n", format = "auto" },
    } })
    assert.same({ "^a[0-9]+\\.test$", "^b{1,2}\\.test$" }, info.regexps)
    assert.equal(2, info.count)
    list:close()
  end)

  it("names line and file of what it leaves out", function()
    local _, info = assert(match.compile { sources = {
      { text = "a.test\n\n???/\n", name = "my.list", format = "auto" },
    } })
    assert.matches("^my.list:3: %?%?%?/: is of no form", info.notes[1])
  end)

  it("keeps some notes and counts all", function()
    local _, info = assert(match.compile { sources = { { text = ("/\n"):rep(1000), format = "auto" } } })
    assert.equal(1000, info.note_count)
    assert.is_true(#info.notes > 10 and #info.notes < 200)
  end)

  it("refuses misuse", function()
    for _, wrong in ipairs { 1, {}, { sources = 1 }, { sources = { 1 } }, { sources = { { text = {} } } },
      { sources = { { text = "", format = "odd" } } }, { sources = { {} } } } do
      assert.has_error(function()
        match.compile(wrong)
      end)
    end
    for _, id in ipairs { 0, -1, 0 / 0, 1e300, 123456789 } do
      assert.is_nil((match.open(id)))
      match.release(id)
    end
    local list = assert(match.compile { sources = {} })
    list:close()
    list:close()
    assert.has_error(function()
      list:contains "a"
    end)
  end)
end)
