-- What plugins are told and may answer, as JSON; and what is no plugin.

local cjson = require "cjson"
local json = require "tidegate.policy.plugin.json"
local plugin = require "tidegate.policy.plugin"

local Inner = { { 1, "id", "string" }, { 2, "count", "uint64" } }
local All = {
  { 1, "text", "string" }, { 2, "data", "bytes" }, { 3, "yes", "bool" }, { 4, "rate", "int64" },
  { 5, "list", "string", repeated = true }, { 6, "one", "message", of = Inner },
  { 7, "many", "message", of = Inner, repeated = true }, { 8, "maybe", "string", omit = true },
  { 9, "others", "string", repeated = true, omit = true }, { 10, "dst", "string", alias = "net" },
}

local EMPTY = {
  text = "", data = "", yes = false, rate = 0, list = {}, many = {}, maybe = "", others = {}, dst = "",
}

describe("policy.plugin's JSON", function()
  it("has all keys, but those that are omitted when empty", function()
    assert.equal('{"text":"","data":"","yes":false,"rate":0,"list":[],"one":{"id":"","count":0},"many":[],"dst":""}',
      json.encode(All, {}))
    assert.equal('{"id":"a","count":9007199254740991}', json.encode(Inner, { id = "a", count = 9007199254740991 }))
    local said = cjson.decode(json.encode(All, { maybe = "m", others = { "x" }, data = "\0\255", rate = -1 }))
    assert.equal("m", said.maybe)
    assert.same({ "x" }, said.others)
    assert.equal("AP8=", said.data)
    assert.equal(-1, said.rate)
  end)

  it("writes any text as valid JSON", function()
    for _, text in ipairs { 'q"b\\s/', "\0\1\31\127\n\r\t", "grüße €  😀" } do
      assert.equal(text, cjson.decode(json.quote(text)))
    end
    local bad = { "\255", "a\192\128b", "\237\160\128", "\244\144\128\128", "\240\128\128\128", "\226\130", "\128" }
    for _, text in ipairs(bad) do
      local clean = cjson.decode(json.quote(text))
      assert.truthy(clean:find("\239\191\189", 1, true))
      assert.is_nil(clean:find "[\192\193\245-\255]")
    end
    assert.equal("a\239\191\189\239\191\189b", cjson.decode(json.quote "a\192\128b"))
  end)

  it("writes queries that mean what was said", function()
    local fields = { { 1, "host", "string" }, { 2, "id", "string", omit = true } }
    assert.equal("host=a%26b%3Dc%20%2F", json.query(fields, { host = "a&b=c /" }))
    assert.equal("host=&id=x", json.query(fields, { id = "x" }))
  end)

  it("reads answers as Go does", function()
    assert.same(EMPTY, json.decode(All, "{}"))
    assert.same(EMPTY, json.decode(All, '{"text":null,"yes":null,"list":null,"unknown":[1,{}]}'))
    local values = assert(json.decode(All, [[ {"TEXT": "t", "Yes": true, "rate": -5, "list": ["a", "b"],
      "data": "AP8=", "one": {"ID": "i"}, "many": [{"count": 2}, {}], "net": "10.0.0.0/8"} ]]))
    assert.same({
      text = "t", data = "\0\255", yes = true, rate = -5, list = { "a", "b" }, one = { id = "i", count = 0 },
      many = { { id = "", count = 2 }, { id = "", count = 0 } }, maybe = "", others = {}, dst = "10.0.0.0/8",
    }, values)
  end)

  it("refuses what is something else", function()
    local cases = {
      "", "null", "true", "1", '"x"', "{", "[", '{"yes":"true"}', '{"yes":1}', '{"text":5}', '{"rate":"5"}',
      '{"list":"a"}', '{"list":[1]}', '{"list":[null]}', '{"data":"???"}', '{"one":5}', '{"one":"x"}', '{"many":[1]}',
      '{"rate":nan}', '{"rate":0x10}', ("["):rep(5000), "{}x",
    }
    for _, text in ipairs(cases) do
      local values, err = json.decode(All, text)
      assert.is_nil(values, text)
      assert.equal("protocol", err.code, text)
    end
  end)
end)

describe("policy.plugin", function()
  it("needs an address, and a kind that has plugins", function()
    assert.equal("config", select(2, plugin.object("auther", { name = "a", plugin = { type = "http" } }, {})).code)
    assert.equal("config", select(2, plugin.object("auther", { name = "a", plugin = { addr = "" } }, {})).code)
    local object, err = plugin.object("nonsense", { name = "a", plugin = { addr = "x:1" } }, {})
    assert.is_nil(object)
    assert.equal("unsupported", err.code)
  end)

  it("has objects of every kind, by either protocol", function()
    for _, kind in ipairs { "auther", "admission", "bypass", "hosts", "resolver", "ingress", "sd", "router", "hop",
      "limiter", "observer", "recorder", "rewriter" } do
      for _, type in ipairs { "HTTP", "grpc", "" } do
        local object = assert(plugin.object(kind, { name = "n", plugin = { type = type, addr = "127.0.0.1:1" } }, {}))
        assert.equal("n", object.name)
        object:close()
      end
    end
  end)
end)
