local routes = require "tidegate.policy.routes"

local function make(list, loaded)
  local config = { name = "r", routes = list, install = false }
  return assert(routes.new(config, { data = routes.prepare(config, loaded) }))
end

local function gateway(r, dst)
  local found = r:get(nil, dst)
  return found and found.gateway
end

describe("router (routes)", function()
  for _, case in ipairs {
    { "the first that contains it, not the narrowest", "10.1.2.3", "a" },
    { "an IPv6 network", "2001:db8::5", "v6" },
    { "a text", "some-name", "text" },
    { "a single address", "192.0.2.7", "one" },
    { "the older word for a network", "172.16.9.9", "net" },
    { "nothing for others", "198.51.100.1", nil },
    { "nothing for other texts", "other-name", nil },
    { "the text of a network", "10.1.2.0/24", "b" },
  } do
    it("finds " .. case[1], function()
      local r = make {
        { dst = "10.1.0.0/16", gateway = "a" },
        { dst = "10.1.2.0/24", gateway = "b" },
        { dst = "2001:db8::/32", gateway = "v6" },
        { dst = "some-name", gateway = "text" },
        { dst = "192.0.2.7/32", gateway = "one" },
        { net = "172.16.0.0/12", gateway = "net" },
        { net = "nonsense", gateway = "x" },
        { dst = "198.51.100.0/24", gateway = "" },
        { dst = "", gateway = "x" },
      }
      assert.same(case[3], gateway(r, case[2]))
    end)
  end

  it("asks inline routes first, then files, Redis, HTTP", function()
    local r = make({ { dst = "a", gateway = "inline" } }, {
      http = { { dst = "b", gateway = "http" } },
      file = { { dst = "a", gateway = "file" }, { dst = "b", gateway = "file" } },
    })
    assert.same({ "inline", "file" }, { gateway(r, "a"), gateway(r, "b") })
  end)

  it("reads lines and Redis items, and ignores what is none", function()
    assert.same({ dst = "10.0.0.0/8", gateway = "1.2.3.4" }, routes.loader.line "10.0.0.0/8\t1.2.3.4 # x")
    assert.is_nil(routes.loader.line "10.0.0.0/8")
    assert.is_nil(routes.loader.line "# x y")
    assert.same({ dst = "a", gateway = "b" }, routes.loader.item("a", "b"))
    assert.same({ dst = "a", gateway = "b" }, routes.loader.item "a b")
  end)

  it("takes other routes", function()
    local r = make { { dst = "a", gateway = "x" } }
    r:load { routes = { { dst = "a", gateway = "y" } } }
    assert.same("y", gateway(r, "a"))
  end)

  it("asks scripts", function()
    local r = routes.scripted {
      get = function(_, _, dst)
        return dst == "a" and "gw" or dst == "b" and { dst = "net", gateway = "other" } or nil
      end,
    }
    assert.same({ dst = "a", gateway = "gw" }, r:get(nil, "a"))
    assert.same({ dst = "net", gateway = "other" }, r:get(nil, "b"))
    assert.is_nil(r:get(nil, "c"))
  end)
end)
