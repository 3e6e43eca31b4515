-- Examples of choosing among targets and proxies, run as their first lines say.

local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

-- A server that says its name to everybody.  @return address
local function named(name)
  return plane.accept(function(s)
    s:write(name)
    s:close()
  end)
end

describe("examples of choosing", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    plane.cleanup()
    programs.stop_all()
  end))

  it("sticky-selector.lua keeps clients where they were", helpers.task(function()
    local path = examples.adapted("examples/sticky-selector.lua", {
      ["127.0.0.1:9001"] = named "one", ["127.0.0.1:9002"] = named "two", ["127.0.0.1:9003"] = named "three",
    })
    local p = proxy.start({ "-C", path }, { env = { LISTEN = "127.0.0.1:0" }, services = 1 })
    local homes, seen = {}, {}
    for i = 1, 12 do -- each from an address of its own, to whichever worker
      homes[i] = examples.ask(p:port(1), nil, "127.0.1." .. i)
      seen[homes[i]] = true
    end
    for _ = 1, 4 do
      for i = 1, 12 do
        assert.same(homes[i], examples.ask(p:port(1), nil, "127.0.1." .. i))
      end
    end
    assert.is_truthy(next(seen, next(seen)), "all clients have the same home")
  end))

  it("sticky-selector.lua finds a new home when the old one is gone", helpers.task(function()
    local nobody = plane.nobody()
    local path = examples.adapted("examples/sticky-selector.lua", {
      ["127.0.0.1:9001"] = nobody, ["127.0.0.1:9002"] = named "two", ["127.0.0.1:9003"] = nobody,
    })
    local p = proxy.start({ "-C", path }, { env = { LISTEN = "127.0.0.1:0" }, services = 1 })
    local said
    for _ = 1, 3 do -- each failure marks one of the two that are gone
      said = examples.ask(p:port(1))
    end
    assert.same("two", said)
    for _ = 1, 5 do
      assert.same("two", examples.ask(p:port(1)))
    end
  end))

  it("probes.yml goes by proxies that work", helpers.task(function()
    local near = proxy.start { "-L", "socks5://127.0.0.1:0" }
    local company = proxy.start { "-L", "socks5://127.0.0.1:0" }
    local flag = programs.file(programs.folder(), "flag", "")
    local path = examples.adapted("examples/probes.yml", {
      [":8080"] = "127.0.0.1:0",
      ["127.0.0.1:9080"] = "127.0.0.1:" .. near:port(1),
      ["127.0.0.1:9081"] = plane.nobody(),
      ["127.0.0.1:9082"] = "127.0.0.1:" .. company:port(1),
      ["corp\\.test"] = "localhost",
      ["/run/company-is-up"] = flag,
    })
    local p = proxy.start({ "-C", path }, { services = 1 })
    p:logged "node exits/near is up"
    p:logged "node exits/company is up"
    p:logged "node exits/far is down"
    local echo = plane.echo()

    local function connect(host)
      local s = examples.dial(p:port(1))
      s:write(("CONNECT %s:%s HTTP/1.1\r\n\r\n"):format(host, echo:match ":(%d+)$"))
      local head = s:read_until("\r\n\r\n", 4096)
      s:close()
      return head and head:find("^HTTP/1.1 200") ~= nil
    end
    for _ = 1, 3 do
      assert.is_true(connect "127.0.0.1")
    end
    assert.is_true(connect "localhost")
    helpers.eventually(function()
      return select(2, near:log():gsub(" <%-> ", "")) == 3 and select(2, company:log():gsub(" <%-> ", "")) == 1
    end)
    os.remove(flag)
    p:logged "node exits/company is down: the command ended with 1"
  end))
end)
