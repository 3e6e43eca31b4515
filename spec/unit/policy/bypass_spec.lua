local bypass = require "tidegate.policy.bypass"
local match = require "tidegate.native.match"

local function of(matchers, more)
  local config = { name = "b", matchers = matchers }
  for key, value in pairs(more or {}) do
    config[key] = value
  end
  return assert(bypass.new(config, {}))
end

-- pattern, addresses that match, addresses that do not
local PATTERNS = {
  -- CIDRs: host bits go away, mapped addresses are IPv4
  { "10.0.0.0/8", "10.1.2.3:80 10.255.255.255 [::ffff:10.1.1.1]:80 10.0.0.0:1", "11.0.0.1:80 9.255.255.255 ten" },
  { "192.168.7.9/24", "192.168.7.1:1 192.168.7.255", "192.168.8.1" },
  { "0.0.0.0/0", "1.2.3.4 255.255.255.255:9", "[::1]:80 example.com" },
  { "1.2.3.4/32", "1.2.3.4:5", "1.2.3.5" },
  { "2001:db8::/32", "[2001:db8:1::5]:443 2001:db8::1", "[2001:db9::1]:443 1.2.3.4" },
  { "2001:db8::/65", "[2001:db8::7fff:ffff:ffff:ffff]:1", "[2001:db8:0:0:8000::]:1" },
  { "::/0", "[::1]:80 2001:db8::1", "1.2.3.4:80" },
  { "::ffff:10.0.0.0/104", "10.9.9.9:1", "11.0.0.0:1" },
  { "fe80::/10", "[fe80::1%eth0]:80", "[fec0::1]:80" },
  -- IPs and ranges have no port; mapped addresses stay IPv6
  { "192.168.1.1", "192.168.1.1:22 192.168.1.1", "192.168.1.2:22 [::ffff:192.168.1.1]:22" },
  { "::1", "[::1]:80 ::1 [0:0:0:0:0:0:0:1]:80", "[::2]:80" },
  { "::ffff:1.2.3.4", "[::ffff:1.2.3.4]:80", "1.2.3.4:80" },
  { "1.1.1.1-1.1.2.0", "1.1.1.1:1 1.1.1.200 1.1.2.0:9", "1.1.1.0 1.1.2.1" },
  { "1.1.1.1 - 1.1.1.3", "1.1.1.2:80", "1.1.1.4:80" },
  { "2001:db8::1-2001:db8::ff", "[2001:db8::80]:1", "[2001:db8::100]:1" },
  { "255.0.0.0-::5", "255.1.2.3:1 [::]:1 [::5]:1", "[::6]:1 254.255.255.255:1" },
  { "1.1.1.3-1.1.1.1", "", "1.1.1.1 1.1.1.2 1.1.1.3" },
  { "::1-1.1.1.1", "", "[::1]:1 1.1.1.1" },
  -- globs
  { "*.example.com", "a.example.com:80 a.b.example.com .example.com A.EXAMPLE.com", "example.com:80 example.com.org" },
  { "*.example.com:443", "a.example.com:443", "a.example.com:80 a.example.com" },
  { "*.example.com:80-443", "a.example.com:80 a.example.com:443 b.example.com:100", "a.example.com:444" },
  { "*example.com", "example.com badexample.com:1 a.example.com", "example.org" },
  { "192.168.*", "192.168.0.1:22 192.168.x", "192.169.0.1" },
  { "*", "a 1.2.3.4 [::1]:80 example.com:1", "" },
  { "*:8080", "a:8080 [::1]:8080", "a:80 a" },
  { "**.a.?", "x.a.b x.y.a.c", "x.a.bc x.a." },
  { "a?c.d", "abc.d:1 axc.d", "ac.d abbc.d" },
  { "[ab]*.x", "a.x bcd.x", "c.x" },
  { "[!ab]*.x", "c.x", "a.x b.x .x" },
  { "[a-c]?.x", "a1.x c2.x", "d1.x" },
  { "[!a-c]?.x", "d1.x", "a1.x" },
  { "[a-c]*:80", "abc:80", "abc:81 d:80" },
  { "{a,b*}.x", "a.x b.x bcd.x", "c.x" },
  { "*.{com,net,{org,de}}", "a.com a.net:1 a.org a.de", "a.eu com" },
  { "{a*", "a abc", "b" },
  { "{,www.}x.*", "x.com www.x.de", "ww.x.com" },
  { "a\\*b*", "a*b a*bc", "axb" },
  { "2001:db8:*", "[2001:db8:1::1]:80", "[2001:db9::1]:80" },
  { "[2001:db8:*]:80", "[2001:db8:1::1]:80", "[2001:db8:1::1]:81" },
  { "*.EXAMPLE.com", "a.example.com", "" },
  { "*a*b*c*", "xaybzc abc", "acb ab" },
  -- no globs: taken for names
  { "[a-z0-9]*.x", "[a-z0-9]*.x", "a.x b9.x" },
  { "[]*", "[]*", "a" },
  -- addresses
  { "example.com", "example.com example.com:80 EXAMPLE.COM:443 example.com.", "a.example.com xexample.com" },
  { ".example.com", "example.com a.example.com:80 a.b.example.com", "xexample.com example.org" },
  { ".example.com:443", "a.example.com:443 example.com:443", "example.com:80 example.com" },
  { "example.com:80", "example.com:80", "example.com:81 example.com" },
  { "example.com:80-443", "example.com:80 example.com:443", "example.com:79 example.com:444" },
  { "example.com:0-100", "example.com example.com:5", "example.com:101" },
  { "example.com:http", "example.com:80 example.com:1 example.com", "" },
  { "example.com:70000", "example.com:1", "" },
  { "example.com:", "example.com:80", "" },
  { "192.168.1.1:22", "192.168.1.1:22", "192.168.1.1:23 192.168.1.1" },
  { "[::1]:22", "[::1]:22 [0:0::1]:22", "[::1]:23" },
  { "[::1]", "[::1]:22 ::1", "[::2]:22" },
  { ".com", "com a.com", "com.org" },
  { "localhost", "localhost:1", "localhost.x" },
  { ":80", "", "a:80 1.2.3.4:80" },
  { "10.0.0.0/8:80", "", "10.1.1.1:80" },
  { "10.0.0.0/33", "", "10.1.1.1:80" },
  -- what a resolver takes for an address is one
  { "127.0.0.0/8", "127.1:80 0x7f000001:80 2130706433:80 0177.0.0.1", "128.1:80" },
}

local function words(text)
  return text:gmatch "%S+"
end

describe("policy.bypass patterns", function()
  for _, row in ipairs(PATTERNS) do
    it(row[1], function()
      local list = of { row[1] }
      for address in words(row[2]) do
        assert.is_true(list:contains(nil, "tcp", address), address)
      end
      for address in words(row[3]) do
        assert.is_false(list:contains(nil, "tcp", address), address)
      end
    end)
  end

  it("counts all ports that patterns of one name say", function()
    local list = of { "a.b:80", "a.b:443", ".c:1-5", ".c:9" }
    for address, expected in pairs {
      ["a.b:80"] = true, ["a.b:443"] = true, ["a.b:81"] = false,
      ["x.c:3"] = true, ["x.c:9"] = true, ["x.c:7"] = false,
    } do
      assert.equal(expected, list:contains(nil, "tcp", address), address)
    end
    list = of { "a.b:80", "a.b" }
    assert.is_true(list:contains(nil, "tcp", "a.b:1"))
    list = of { "a.b", "a.b:80" }
    assert.is_true(list:contains(nil, "tcp", "a.b:1"))
  end)

  it("answers the same for many patterns as for one", function()
    local all = {}
    for _, row in ipairs(PATTERNS) do
      if row[1] ~= "*" and row[1] ~= "0.0.0.0/0" and row[1] ~= "::/0" and row[1] ~= "*:8080" then
        all[#all + 1] = row[1]
      end
    end
    for i = 1, 5000 do
      all[#all + 1] = ("n%d.filler.test"):format(i)
      all[#all + 1] = ("203.0.%d.%d"):format(i % 256, math.floor(i / 256) * 2)
    end
    local list = of(all)
    for _, row in ipairs(PATTERNS) do
      for address in words(row[2]) do
        assert.equal(row[1] ~= "*" and row[1] ~= "0.0.0.0/0" and row[1] ~= "::/0" and row[1] ~= "*:8080"
          or list:contains(nil, "tcp", address), list:contains(nil, "tcp", address), address)
      end
    end
    assert.is_true(list:contains(nil, "tcp", "n4999.filler.test:1"))
    assert.is_false(list:contains(nil, "tcp", "n5001.filler.test:1"))
    assert.is_true(list:contains(nil, "tcp", "203.0.1.0:1"))
    assert.is_false(list:contains(nil, "tcp", "203.0.1.1:1"))
  end)

  it("says what is wrong with patterns", function()
    local id, info = assert(match.build { sources = { { items = { "[]*", ":80", "a.b", "{a,b}*" } } } })
    assert.equal(4, info.count)
    assert.equal(2, info.note_count)
    assert.matches("%[%]%*: is no glob, taken for a name", info.notes[1])
    assert.matches(":80: without a host it never matches", info.notes[2])
    match.release(id)
  end)

  it("takes no more alternatives than it has room for", function()
    local id, info = assert(match.build { sources = { { items = { ("{a,b}"):rep(40) .. "*" } } } })
    assert.matches("too many alternatives", info.notes[1])
    match.release(id)
  end)

  it("answers hostile patterns quickly", function()
    local list = of { ("*a"):rep(200) .. "b" }
    assert.is_false(list:contains(nil, "tcp", ("a"):rep(250)))
    list = of { ("{"):rep(500) .. "*" .. ("}"):rep(500) }
    assert.is_true(list:contains(nil, "tcp", "anything"))
  end)
end)

-- network of the bypass, patterns, whitelist, network asked, address, answer: spec 5.3
local NONE, SOME = {}, { "a.test" }
local DECISIONS = {
  { "tcp", SOME, false, "udp", "a.test:1", false },
  { "tcp", SOME, true, "udp", "b.test:1", false },
  { "tcp", NONE, false, "udp", "a.test:1", false },
  { "tcp", NONE, true, "udp", "a.test:1", false },
  { nil, NONE, false, "tcp", "a.test:1", false },
  { nil, NONE, true, "tcp", "a.test:1", false },
  { "tcp", NONE, false, "tcp", "a.test:1", true },
  { "tcp", NONE, true, "tcp", "a.test:1", false },
  { nil, SOME, false, "tcp", "a.test:1", true },
  { nil, SOME, false, "udp", "b.test:1", false },
  { nil, SOME, true, "tcp", "a.test:1", false },
  { nil, SOME, true, "udp", "b.test:1", true },
  { "udp", SOME, false, "udp", "a.test:1", true },
  { "udp", SOME, true, "udp", "b.test:1", true },
  { nil, SOME, false, "tcp", "", false },
  { nil, SOME, true, "tcp", "", false },
  { "tcp", NONE, false, "tcp", "", false },
}

describe("policy.bypass decision", function()
  for i, row in ipairs(DECISIONS) do
    it(("row %d"):format(i), function()
      local one = of(row[2], { network = row[1], whitelist = row[3] })
      assert.equal(row[6], one:contains(nil, row[4], row[5]))
    end)
  end

  it("looks at what was asked for as well as at what is dialed", function()
    local black, white = of { "a.test:443", "192.0.2.0/24" }, of({ ".a.test" }, { whitelist = true })
    for _, row in ipairs {
      { "198.51.100.1:443", "a.test:443", true, true }, { "198.51.100.1:443", "a.test", true, true },
      { "198.51.100.1:80", "a.test:80", false, true }, { "198.51.100.1:80", "a.test", false, true },
      { "192.0.2.1:1", "b.test:1", true, false }, { "198.51.100.1:1", "b.test", false, false },
      { "a.test:443", "a.test", true, true }, { "a.test:443", "", true, true }, { "a.test:443", nil, true, true },
      { "[2001:db8::1]:443", "a.test", true, true }, { "b.test:443", "b.test:443", false, false },
    } do
      assert.equal(row[3], black:contains(nil, "tcp", row[1], { host = row[2] }), row[1])
      assert.equal(not row[4], white:contains(nil, "tcp", row[1], { host = row[2] }), row[1])
    end
  end)

  it("takes reverse for whitelist", function()
    assert.is_true(of(SOME, { reverse = true }):contains(nil, "tcp", "b.test:1"))
  end)
end)

describe("policy.bypass group", function()
  local bypasses = {
    black = of { "black.test" },
    other = of { "other.test" },
    white = of({ "white.test", "both.test" }, { whitelist = true }),
    pale = of({ "pale.test", "both.test" }, { whitelist = true }),
    script = bypass.scripted {
      contains = function(_, _, _, address)
        return address == "script.test:1"
      end,
    },
  }
  local ROWS = {
    { { bypass = "black" }, "black.test:1", true },
    { { bypass = "black" }, "x.test:1", false },
    { { bypasses = { "black", "other" } }, "other.test:1", true },
    { { bypass = "other", bypasses = { "black" } }, "black.test:1", true },
    { { bypass = "white" }, "white.test:1", false },
    { { bypass = "white" }, "x.test:1", true },
    { { bypasses = { "white", "pale" } }, "pale.test:1", false },
    { { bypasses = { "white", "pale" } }, "both.test:1", false },
    { { bypasses = { "white", "pale" } }, "x.test:1", true },
    { { bypasses = { "white", "black" } }, "black.test:1", true },
    { { bypasses = { "white", "black" } }, "white.test:1", false },
    { { bypasses = { "white", "black" } }, "x.test:1", true },
    { { bypass = "script" }, "script.test:1", true },
    { { bypass = "script" }, "x.test:1", false },
    { { bypass = "nobody" }, "x.test:1", false },
    { { bypasses = { "nobody", "white" } }, "x.test:1", true },
    { { bypass = "white" }, "", false },
  }
  for i, row in ipairs(ROWS) do
    it(("row %d"):format(i), function()
      assert.equal(row[3], bypass.of(row[1], { bypasses = bypasses }):contains(nil, "tcp", row[2]))
    end)
  end

  it("is itself a blacklist, whatever its members are", function()
    assert.is_false(bypass.of({ bypass = "white" }, { bypasses = bypasses }).whitelist)
  end)

  it("is none where nothing is named", function()
    assert.is_nil(bypass.of({}, { bypasses = bypasses }))
    assert.is_nil(bypass.of({ bypass = "", bypasses = {} }, { bypasses = bypasses }))
  end)
end)

describe("policy.bypass data", function()
  it("is prepared once and opened by whoever needs it", function()
    local config = { name = "b", matchers = { "a.test" }, file = { path = "list" } }
    local data = assert(bypass.prepare(config, { file = "b.test # a comment\n\t.c.test\n#d.test\n" }))
    local one, other = assert(bypass.new(config, { data = data })), assert(bypass.new(config, { data = data }))
    bypass.release(data)
    for _, each in ipairs { one, other } do
      assert.is_true(each:contains(nil, "tcp", "a.test:1"))
      assert.is_true(each:contains(nil, "tcp", "b.test:1"))
      assert.is_true(each:contains(nil, "tcp", "x.c.test:1"))
      assert.is_false(each:contains(nil, "tcp", "d.test:1"))
    end
    one:close()
    assert.is_true(other:contains(nil, "tcp", "a.test:1"))
    other:close()
    assert.is_nil((match.open(data.id)))
  end)

  it("changes at once", function()
    local config = { name = "b" }
    local data = assert(bypass.prepare(config, { redis = { "a.test", "#b.test", " c.test" } }))
    local one = assert(bypass.new(config, { data = data }))
    assert.is_true(one:contains(nil, "tcp", "a.test:1"))
    assert.is_true(one:contains(nil, "tcp", "#b.test:1")) -- Redis' items are as they are
    local fresh = assert(bypass.prepare(config, { http = "z.test" }))
    assert(one:load(fresh))
    bypass.release(data)
    assert.is_false(one:contains(nil, "tcp", "a.test:1"))
    assert.is_true(one:contains(nil, "tcp", "z.test:1"))
    assert.is_nil((one:load { id = data.id, regexps = {}, count = 1 }))
    assert.is_true(one:contains(nil, "tcp", "z.test:1"))
    bypass.release(fresh)
  end)

  it("says which file cannot be read", function()
    local data, err = bypass.prepare({ name = "b", ruleset = { { file = "/nowhere/list" } } })
    assert.is_nil(data)
    assert.matches("/nowhere/list: No such file", tostring(err))
    data, err = bypass.prepare({ name = "b", ruleset = { { file = "/dev/null", format = "odd" } } })
    assert.is_nil(data)
    assert.matches("unknown format", tostring(err))
  end)
end)
