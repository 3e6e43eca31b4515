local ingress = require "tidegate.policy.ingress"

local function make(rules, data)
  return assert(ingress.new({ name = "i", rules = rules }, { data = data }))
end

describe("ingress", function()
  for _, case in ipairs {
    { "the host", "a.example", "id-a" },
    { "the host without its port", "a.example:443", "id-a" },
    { "the host in another case", "A.Example", "id-a" },
    { "what is below a wildcard", "x.y.b.example", "id-b" },
    { "the domain of a wildcard itself", "b.example", "id-b" },
    { "a wildcard without a dot: the name only", "c.example", "id-c" },
    { "the longest suffix", "x.deep.b.example", "id-deep" },
    { "nothing for others", "d.example", nil },
    { "nothing below a plain name", "x.a.example", nil },
    { "no catch-all", ".", nil },
    { "a private tunnel", "p.example", "$id-p" },
  } do
    it("finds " .. case[1], function()
      local i = make {
        { hostname = "a.example", endpoint = "id-old" },
        { hostname = "a.example", endpoint = "id-a" },
        { hostname = "*.b.example", endpoint = "id-b" },
        { hostname = "*c.example", endpoint = "id-c" },
        { hostname = ".deep.b.example", endpoint = "id-deep" },
        { hostname = "p.example", endpoint = "$id-p" },
        { hostname = "d.example", endpoint = "" },
        { hostname = "", endpoint = "id-d" },
      }
      assert.same(case[3], i:get(nil, case[2]))
    end)
  end

  it("lets later sources win: inline, file, Redis, HTTP", function()
    local function rule(endpoint)
      return { { hostname = "a", endpoint = endpoint } }
    end
    local i = make(rule "inline", { file = rule "file", redis = rule "redis" })
    assert.same("redis", i:get(nil, "a"))
    i:load { http = rule "http", file = rule "file" }
    assert.same("http", i:get(nil, "a"))
    i:load {}
    assert.same("inline", i:get(nil, "a"))
  end)

  it("reads lines and Redis items, and ignores what is none", function()
    assert.same({ hostname = "a", endpoint = "b" }, ingress.loader.line "a  b # c")
    assert.is_nil(ingress.loader.line "")
    assert.is_nil(ingress.loader.line "# nothing")
    assert.is_nil(ingress.loader.line "a")
    assert.same({ hostname = "a", endpoint = "b" }, ingress.loader.item("a", "b"))
    assert.same({ hostname = "a", endpoint = "b" }, ingress.loader.item "a b")
  end)

  it("takes no rules", function()
    assert.is_false(make({}):set(nil, "a", "b"))
    assert.is_false(ingress.scripted({ get = function() end }):set(nil, "a", "b"))
  end)
end)
