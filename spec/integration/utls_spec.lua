-- The dialer utls: what its presets change in a ClientHello.

local client_hello = require "tidegate.native.client_hello"
local helpers = require "spec.helpers"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local function hello_of(query)
  local hello
  local address, stop = server.accept(function(s)
    hello = s:receive(client_hello.hello)
    s:close()
  end)
  local p = proxy.start { "-L", "tcp://127.0.0.1:0/x:1", "-F", ("forward+utls://%s%s"):format(address, query) }
  local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
  helpers.eventually(function()
    return hello
  end)
  s:close()
  stop()
  return hello
end

describe("utls", function()
  after_each(helpers.task(function()
    proxy.stop_all()
  end))

  it("offers what a browser offers", helpers.task(function()
    for _, name in ipairs { "chrome", "firefox", "safari", "ios", "edge", "randomized-alpn" } do
      assert.same({ "h2", "http/1.1" }, hello_of("?fingerprint=" .. name).alpn, name)
    end
    assert.same({}, hello_of("?fingerprint=randomized-noalpn").alpn)
    assert.same({}, hello_of("").alpn)
    local chrome, firefox = hello_of("?fingerprint=chrome").bytes, hello_of("?fingerprint=firefox").bytes
    assert.truthy(chrome:find("\192\43\192\47\192\44\192\48\204\169\204\168\192\19\192\20", 1, true))
    assert.truthy(firefox:find("\192\43\192\47\204\169\204\168\192\44\192\48\192\10\192\9\192\19\192\20", 1, true))
  end))

  it("reaches a tls listener", helpers.task(function()
    local address, stop = server.echo()
    local far = proxy.start { "-L", "relay+tls://127.0.0.1:0" }
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/" .. address, "-F",
      ("relay+utls://127.0.0.1:%d?fingerprint=chrome"):format(far:port(1)) }
    local s = assert(stream.dial("127.0.0.1:" .. near:port(1)))
    s:set_deadline(task.now() + 20000)
    s:write "hello"
    assert.equal("hello", s:read_exact(5))
    s:close()
    stop()
  end))

  it("names the presets it knows", helpers.task(function()
    local result = proxy.run { "-L", ":0", "-F", "utls://127.0.0.1:1?fingerprint=netscape" }
    assert.not_equal(0, result.code)
    assert.truthy((result.stdout .. result.stderr):find("randomized-noalpn", 1, true))
  end))
end)
