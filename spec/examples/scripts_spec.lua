-- The examples, run as their first lines say.

local base64 = require "tidegate.net.http.base64"
local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local adapted, ask, get, web = examples.adapted, examples.ask, examples.get, examples.web
local FREE = { env = { LISTEN = "127.0.0.1:0" }, services = 1 }

describe("examples", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    plane.cleanup()
    programs.stop_all()
  end))

  it("virtual-hosts.lua takes turns, and refuses", helpers.task(function()
    local p = proxy.start({ "-C", adapted("examples/virtual-hosts.lua", {
      ["127.0.0.1:9001"] = web "one",
      ["127.0.0.1:9002"] = web "two",
    }) }, FREE)
    assert.is_truthy(get(p:port(1), "/", "App.test:8080"):find "one$")
    assert.is_truthy(get(p:port(1), "/", "app.test"):find "two$")
    assert.is_truthy(get(p:port(1), "/", "other.test"):find "^HTTP/1.1 421 ")
    p:logged("no such host: other.test", true)
  end))

  it("chain-by-user.lua asks who it is, and leaves accordingly", helpers.task(function()
    local upstream = web(function(head)
      return head:find "^GET http" and "via" or "???"
    end)
    local path = adapted("examples/chain-by-user.lua", {
      ["http://127.0.0.1:9080"] = "http://" .. upstream,
    })
    local p = proxy.start({ "-C", path }, FREE)
    local target = web "target"
    local function as(user, where)
      local cred = ({ alice = "YWxpY2U6d29uZGVybGFuZA==", bob = "Ym9iOmJ1aWxkZXI=" })[user] or "eDp5"
      return get(p:port(1), "http://" .. where .. "/", where, "Proxy-Authorization: Basic " .. cred .. "\r\n")
    end
    assert.is_truthy(as("nobody", target):find "^HTTP/1.1 407 ")
    assert.is_truthy(as("alice", target):find "target$")
    assert.is_truthy(as("alice", "169.254.169.254:80"):find "^HTTP/1.1 403 ")
    assert.is_falsy(as("bob", target):find "target$")
  end))

  it("forward.yml keeps to the first target while it works, and calm.lua counts", helpers.task(function()
    local path = adapted("examples/forward.yml", {
      ["127.0.0.1:8022"] = "127.0.0.1:0",
      ["127.0.0.1:9022"] = plane.nobody(),
      ["127.0.0.1:9023"] = web "second",
    })
    local p = proxy.start({ "-C", path }, { services = 1 })
    ask(p:port(1), "x\r\n\r\n")
    for _ = 1, 29 do
      assert.is_truthy(ask(p:port(1), "x\r\n\r\n"):find "second$")
    end
    assert.same("", ask(p:port(1), "x\r\n\r\n"))
    p:logged("127.0.0.1 comes too often", true)
  end))

  it("work-hours.lua looks at the clock", helpers.task(function()
    local function status_at(from, to, host)
      local p = proxy.start({ "-C", "examples/work-hours.lua" }, {
        env = { LISTEN = "127.0.0.1:0", WORK_FROM = from, WORK_TO = to }, services = 1,
      })
      local answer = get(p:port(1), "http://" .. host .. "/", host)
      p:stop()
      return answer:match "^HTTP/1.1 (%d+)"
    end
    local target = web "target"
    assert.same("403", status_at(0, 24, "www.video.example"))
    assert.same("200", status_at(0, 24, target))
    assert.same("503", status_at(0, 0, "www.video.example:1"), "after work it is only not found")
  end))

  it("http-auth.lua asks the directory once, and nobody new gets in while it is gone", helpers.task(function()
    local asked, alive = {}, true
    local directory = plane.accept(function(s)
      local head = alive and s:read_until("\r\n\r\n", 4096)
      if head then
        local body = s:read_exact(tonumber(head:match "Content%-Length: (%d+)"))
        asked[#asked + 1] = body
        local good = body:find("user=ann", 1, true) and body:find("password=p%26%20w", 1, true)
        s:write(good and "HTTP/1.1 200 OK\r\nX-Group: staff\r\n" or "HTTP/1.1 403 No\r\n", "Content-Length: 0\r\n\r\n")
      end
      s:close()
    end)
    local target = web "target"
    local p = proxy.start({ "--workers", "1", "-C", "examples/http-auth.lua" },
      { env = { LISTEN = "127.0.0.1:0", DIRECTORY = "http://" .. directory .. "/login" }, services = 1 })
    local function as(credentials)
      local answer = get(p:port(1), "http://" .. target .. "/", target,
        "Proxy-Authorization: Basic " .. base64.encode(credentials) .. "\r\n")
      return answer:match "^HTTP/1.1 (%d+)"
    end
    assert.same("200", as "ann:p& w")
    assert.same("200", as "ann:p& w")
    assert.equal(1, #asked)
    assert.is_truthy(asked[1]:find("client=127.0.0.1", 1, true))
    assert.same("407", as "ann:other")
    alive = false
    assert.same("407", as "bob:x")
    p:logged("the directory does not answer", true)
    assert.same("200", as "ann:p& w")
  end))
end)
