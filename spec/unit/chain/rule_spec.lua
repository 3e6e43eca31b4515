local rule = require "tidegate.chain.rule"

local REQUEST = {
  network = "tcp4",
  host = "WWW.Example.com:443",
  proto = "http",
  client_ip = "192.0.2.7",
  method = "GET",
  path = "/api/v1",
  query = { page = { "3", "x" }, Tag = "blue" },
  header = { ["x-count"] = { "no", "12.5" }, ["user-agent"] = { "curl/8" }, host = { "no" } },
  body = '{"user":{"name":"al\\u00efce","age":31,"tags":["a","b"]},"n":1.50,"ok":true,"nil":null,"a.b":{"c*":"star"}}',
}

local function eval(text, request, env)
  local test = assert(rule.compile(text, env))
  return test(request or REQUEST)
end

-- rule → truth over REQUEST
local TRUTH = {
  -- operators
  { "Proto(`http`) && Method(`GET`)", true },
  { "Proto(`tls`) || Method(`GET`)", true },
  { "Proto(`tls`) && Method(`GET`) || Proto(`http`)", true },
  { "Proto(`http`) || Proto(`tls`) && Method(`PUT`)", true },
  { "(Proto(`http`) || Proto(`tls`)) && Method(`PUT`)", false },
  { "!Proto(`tls`)", true },
  { "!!Proto(`tls`)", false },
  { "!(Proto(`http`) && Method(`PUT`))", true },
  { "!(Proto(`http`) || Method(`PUT`))", false },
  { "  Proto( `http` , ) ", true },
  { "Proto(`http`) && // why\n Method(`GET`)", true },
  { "Proto(`http`) /* and */ && Method(\n`GET`)\n\n", true },
  -- strings
  { 'Path("/api/v1")', true },
  { 'Path("\\x2fapi\\057v\\u0031")', true },
  { 'Query("page", "\\U00000033")', true },
  { "Path(`/api\r/v1`)", true },
  { "Path(`\\x2fapi/v1`) || Proto(`http`)", nil }, -- raw strings have no escapes: not a path
  -- spellings
  { "hostregexp(`^www`)", true },
  { "HOSTREGEXP(`^www`)", true },
  { "Hostregexp(`^www`)", true },
  { "HostRegexp(`^www`)", true },
  -- ClientIP
  { "ClientIP(`192.0.2.7`)", true },
  { "ClientIP(`192.0.2.8`)", false },
  { "ClientIP(`192.0.2.0/24`)", true },
  { "ClientIP(`2001:db8::/32`)", false },
  -- Network, Proto, Method
  { "Network(`tcp`)", true },
  { "Network(`TCP4`)", true },
  { "Network(`tcp6`)", false },
  { "Network(`udp`)", false },
  { "Proto(`HTTP`)", true },
  { "Method(`get`)", true },
  { "Method(`post`)", false },
  -- Host
  { "Host(`www.example.com`)", true },
  { "Host(`WWW.example.COM`)", true },
  { "Host(`example.com`)", false },
  { "Host(`.example.com`)", true },
  { "Host(`*.example.com`)", true },
  { "Host(`*example.com`)", true },
  { "Host(`*.www.example.com`)", false },
  { "Host(`.www.example.com`)", false },
  { "Host(`ple.com`)", false },
  { "HostRegexp(`^w+\\.example`)", true },
  { "HostRegexp(`:443`)", false },
  -- Path
  { "Path(`/api/v1`)", true },
  { "Path(`/api`)", false },
  { "PathPrefix(`/ap`)", true },
  { "PathPrefix(`/v1`)", false },
  { "PathRegexp(`v\\d$`)", true },
  { "PathRegexp(`^api`)", false },
  -- Header
  { "Header(`x-COUNT`)", true },
  { "Header(`X-Other`)", false },
  { "Header(`Host`)", false },
  { "Header(`User-Agent`, `curl/8`)", true },
  { "Header(`User-Agent`, `curl`)", false },
  { "Header(`X-Count`, `gt`, `12`)", true },
  { "Header(`X-Count`, `ge`, `12.5`)", true },
  { "Header(`X-Count`, `lt`, `12.5`)", false },
  { "Header(`X-Count`, `le`, `1.25e1`)", true },
  { "Header(`X-Count`, `eq`, `12.50`)", true },
  { "Header(`X-Count`, `ne`, `12.5`)", false },
  { "Header(`X-Count`, `lt`, `inf`)", true },
  { "Header(`User-Agent`, `gt`, `0`)", false },
  { "HeaderRegexp(`User-Agent`)", true },
  { "HeaderRegexp(`User-Agent`, `^curl/\\d+$`)", true },
  { "HeaderRegexp(`User-Agent`, `wget`)", false },
  -- Query
  { "Query(`page`)", true },
  { "Query(`Page`)", false },
  { "Query(`Tag`, `blue`)", true },
  { "Query(`page`, `x`)", true },
  { "Query(`page`, `ge`, `3`)", true },
  { "Query(`page`, `gt`, `3`)", false },
  { "QueryRegexp(`page`, `^x$`)", true },
  { "QueryRegexp(`none`)", false },
  -- bodies
  { "BodyRegexp(`\"age\":\\d+`)", true },
  { "BodyRegexp(`nothing`)", false },
  { "BodyJSON(`user.name`, `^alïce$`)", true },
  { "BodyJSON(`user.age`, `gt`, `30`)", true },
  { "BodyJSON(`user.age`, `^31$`)", true },
  { "BodyJSON(`user.tags.1`, `^b$`)", true },
  { "BodyJSON(`user.tags.#`, `eq`, `2`)", true },
  { "BodyJSON(`user.tags`, `^\\[\"a\",\"b\"\\]$`)", true },
  { "BodyJSON(`n`, `^1\\.5$`)", true },
  { "BodyJSON(`ok`, `^true$`)", true },
  { "BodyJSON(`nil`, `^$`)", true },
  { "BodyJSON(`absent.x`, `^$`)", true },
  { "BodyJSON(`absent`, `eq`, `0`)", false },
  { "BodyJSON(`us*.n?me`, `ce$`)", true },
  { "BodyJSON(`a\\.b.c\\*`, `star`)", true },
}

-- rule → column, words of the message
local REFUSED = {
  { "", 1, "the rule is empty" },
  { "   ", 1, "the rule is empty" },
  { "Hots(`a`)", 1, 'there is no function "Hots"; did you mean Host?' },
  { "hOST(`a`)", 1, "there is no function" },
  { "Host", 1, "is not a function call" },
  { "Host()", 1, "Host takes 1 argument, not 0" },
  { "Host(`a`, `b`)", 1, "Host takes 1 argument, not 2" },
  { "Header(`a`,`b`,`c`,`d`)", 1, "Header takes 1 to 3 arguments, not 4" },
  { "BodyJSON(`a`)", 1, "BodyJSON takes 2 to 3 arguments, not 1" },
  { "Host(``)", 6, "an argument of Host is empty" },
  { "Host(,)", 6, "a string expected" },
  { "Host(5)", 6, "numbers must be quoted" },
  { "Host(a)", 6, "a string expected" },
  { "Host('a')", 6, "strings are quoted by ` or \"" },
  { "Host(`a)", 6, "the string does not end" },
  { 'Host("a)', 6, "the string does not end" },
  { 'Host("a\n")', nil, "the string does not end" },
  { 'Host("\\q")', 7, "unknown escape" },
  { 'Host("\\x4")', 7, "needs 2 hexadecimal digits" },
  { "Host(`a`) & Host(`b`)", 11, "a single & means nothing" },
  { "Host(`a`) == Host(`b`)", 11, "comparisons are written as a function" },
  { "Host(`a`) Host(`b`)", 11, "an operator (&& or ||) expected" },
  { "Host(`a`)\n&& Host(`b`)", nil, "only after an operator" },
  { "Host(`a`) &&", 13, "a function expected, not the end" },
  { "(Host(`a`)", 11, "an operator or ) expected, not the end" },
  { "Host(`a`))", 10, "an operator (&& or ||) expected" },
  { "|| Host(`a`)", 1, "a function expected" },
  { "Host(`a`) /* x", 11, "the comment does not end" },
  { "Host(`é`)", 6, "only ASCII" },
  { "Path(`x`)", 6, "a path begins with /" },
  { "PathPrefix(`x`)", 12, "a path begins with /" },
  { "Path(`/`) && PathRegexp(`(?=a)`)", 25, "look-around is not supported" },
  { "ClientIP(`1.2.3`)", 10, "neither an IP address nor a network" },
  { "ClientIP(`1.2.3.4/33`)", 10, "neither an IP address nor a network" },
  { "Header(`A`, `gte`, `1`)", 13, '"gte" is no comparison' },
  { "Header(`A`, `gt`, `one`)", 19, '"one" is no number' },
  { "BodyJSON(`a.@reverse`, `x`)", 10, "modifiers" },
  { "BodyJSON(`a.#(b==1)`, `x`)", 10, "queries" },
  { "BodyJSON(`a..b`, `x`)", 10, "an empty key" },
}

describe("rule", function()
  for _, row in ipairs(TRUTH) do
    it(("%s is %s"):format(row[1], tostring(row[2])), function()
      if row[2] == nil then
        assert.is_nil((rule.compile(row[1])))
      else
        assert.same(row[2], eval(row[1]))
      end
    end)
  end

  for _, row in ipairs(REFUSED) do
    it(("refuses %s"):format(row[1]), function()
      local test, err = rule.compile(row[1])
      assert.is_nil(test)
      assert.is_truthy(tostring(err):find(row[3], 1, true), tostring(err))
      if row[2] then
        assert.same(row[2], err.column)
        assert.is_truthy(tostring(err):find(("column %d:"):format(row[2]), 1, true), tostring(err))
      end
    end)
  end

  it("matches nothing that is not known", function()
    for _, text in ipairs {
      "Host(`a`)", "Host(`.a`)", "Network(`tcp`)", "Proto(`http`)", "ClientIP(`0.0.0.0/0`)", "Method(`GET`)",
      "Path(`/`)", "PathPrefix(`/`)", "PathRegexp(`.*`)", "Header(`A`)", "Query(`a`)", "BodyRegexp(`.*`)",
      "BodyJSON(`a`, `.*`)",
    } do
      assert.is_false(eval(text, {}), text)
    end
  end)

  it("takes brackets from IPv6 hosts", function()
    assert.is_true(eval("Host(`2001:db8::1`)", { host = "[2001:DB8::1]:80" }))
    assert.is_true(eval("Host(`a.b`)", { host = " a.b :80" }))
  end)

  it("looks at bodies that were cut off", function()
    assert.is_true(eval("BodyJSON(`a.b`, `^1$`)", { body = '{"a":{"b":1,"c":[1,2' }))
    assert.is_false(eval("BodyJSON(`a.c`, `1`)", { body = '{"a":{"b":1,"c":[1,2' }))
    assert.is_false(eval("BodyJSON(`a`, `x`)", { body = '{"a":"x' }))
    assert.is_false(eval("BodyJSON(`a`, `x`)", { body = "no json" }))
  end)

  it("collects values of all items of an array", function()
    local body = '[{"n":"a"},{"m":1},{"n":"b"}]'
    assert.is_true(eval("BodyJSON(`#.n`, `^\\[\"a\",\"b\"\\]$`)", { body = body }))
    assert.is_true(eval("BodyJSON(`#`, `eq`, `3`)", { body = body }))
    assert.is_true(eval("BodyJSON(`2.n`, `^b$`)", { body = body }))
  end)

  it("decodes what JSON escapes", function()
    local body = '{"a":"q\\"\\\\n\\n\\u0041\\ud83d\\ude00"}'
    assert.is_true(eval('BodyJSON(`a`, "^q\\"\\\\\\\\n\\nA\\U0001f600$")', { body = body }))
  end)

  it("asks the bypass and admission of that name, when there is one", function()
    local asked = {}
    local registry = { bypasses = {}, admissions = {} }
    local env = { registry = registry }
    local test = assert(rule.compile("Bypass(`b`) && Admission(`a`)", env))
    assert.is_true(assert(rule.compile("Bypass(`b`)", env))(REQUEST))
    assert.is_false(assert(rule.compile("Admission(`a`)", env))(REQUEST))

    registry.bypasses.b = { contains = function(_, _, network, address)
      asked[#asked + 1] = network .. " " .. address
      return false
    end }
    registry.admissions.a = { admits = function(_, _, network, address)
      asked[#asked + 1] = network .. " " .. address
      return true
    end }
    assert.is_true(test(REQUEST))
    assert.same({ "tcp WWW.Example.com:443", "ip 192.0.2.7" }, asked)
    registry.bypasses.b.contains = function() return true end
    assert.is_false(test(REQUEST))
  end)

  it("stops at what decides", function()
    local registry = { bypasses = { b = { contains = function() error "asked" end } } }
    assert.is_true(eval("Proto(`http`) || Bypass(`b`)", nil, { registry = registry }))
    assert.is_false(eval("Proto(`tls`) && Bypass(`b`)", nil, { registry = registry }))
  end)

  it("tells whether it looks at bodies", function()
    assert.is_false(select(2, rule.compile "Host(`a`)"))
    assert.is_true(select(2, rule.compile "Host(`a`) && !bodyjson(`a`, `b`)"))
  end)

  it("names line and column in rules of several lines", function()
    local _, err = rule.compile "Host(`a`) ||\n  Hosd(`b`)"
    assert.same({ 2, 3 }, { err.line, err.column })
    assert.is_truthy(tostring(err):find("rule, line 2, column 3: there is no function", 1, true))
  end)

  it("counts characters, not bytes", function()
    local _, err = rule.compile "Header(`é`) && Hosd(`b`)"
    assert.same(16, err.column)
  end)

  it("finds all that is wrong with the arguments at once", function()
    local problems = rule.check "Hots(`a`) || Path(`x`) && ClientIP(`y`)"
    assert.same({ 1, 19, 36 }, { problems[1].column, problems[2].column, problems[3].column })
    assert.same({}, rule.check "Host(`a`)")
  end)

  it("bounds how deep rules nest", function()
    local _, err = rule.compile(("("):rep(1000) .. "Host(`a`)" .. (")"):rep(1000))
    assert.is_truthy(tostring(err):find("nested too deeply", 1, true))
    assert.is_true(eval(("!"):rep(100) .. "Proto(`http`)"))
  end)
end)
