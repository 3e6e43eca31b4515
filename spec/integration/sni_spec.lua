-- The sni handler and connector: names found in what clients send, hidden and shown again.

local client_hello = require "tidegate.native.client_hello"
local helpers = require "spec.helpers"
local name = require "tidegate.net.http.name"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local function u16(n)
  return string.char(math.floor(n / 256), n % 256)
end

local function extension(kind, body)
  return u16(kind) .. u16(#body) .. body
end

-- A ClientHello that asks for a server, cut into records of `cut` bytes.
local function hello_for(host, cut)
  local list = "\0" .. u16(#host) .. host
  local extensions = extension(0x0a0a, "") .. extension(0, u16(#list) .. list)
    .. extension(16, "\0\3\2h2") .. extension(43, "\2\3\4") .. extension(21, ("\0"):rep(300))
  local body = "\3\3" .. ("r"):rep(32) .. "\32" .. ("s"):rep(32) .. "\0\2\19\1" .. "\1\0"
    .. u16(#extensions) .. extensions
  local message, records = "\1\0" .. u16(#body) .. body, ""
  cut = cut or #message
  for at = 1, #message, cut do
    local part = message:sub(at, at + cut - 1)
    records = records .. "\22\3\1" .. u16(#part) .. part
  end
  return records
end

-- A server that keeps what it is sent.  @return address, function → bytes once there are so many
local function capture(answer)
  local got = ""
  local address = server.accept(function(s)
    local bytes = s:read()
    s:write(answer or "seen")
    while bytes do
      got = got .. bytes
      bytes = s:read()
    end
    s:close()
  end)
  return address, function(size)
    helpers.eventually(function()
      return #got >= size
    end, "got only " .. #got)
    return got
  end
end

local function send(port, ...)
  local s = assert(stream.dial("127.0.0.1:" .. port))
  s:set_deadline(task.now() + 20000)
  for _, part in ipairs { ... } do
    s:write(part)
    helpers.pass()
  end
  local answer, err = s:read()
  s:shutdown()
  s:close()
  return answer, err
end

describe("sni", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  -- sni → whatever is asked for, to the capturing server; the chain's connector leaves bytes alone.
  local function far(address)
    return proxy.start { "-L", "sni://127.0.0.1:0", "-F", "tcp://" .. address }
  end

  it("goes where a ClientHello wants to go", helpers.task(function()
    local address, got = capture()
    local p = far(address)
    local hello = hello_for("www.example.com")
    assert.equal("seen", send(p:port(1), hello:sub(1, 20), hello:sub(21), "more"))
    assert.equal(hello .. "more", got(#hello + 4))
    p:logged("www.example.com:443", true)
  end))

  it("goes where a request wants to go, header by header as it came", helpers.task(function()
    local address, got = capture()
    local p = far(address)
    local request = "POST /a?b HTTP/1.1\r\nhOST: www.example.com:8080\r\nConnection: x-a\r\nX-A: 1\r\n" ..
      "Content-Length: 3\r\n\r\nabc"
    assert.equal("seen", send(p:port(1), request))
    assert.equal(request, got(#request))
    p:logged("www.example.com:8080", true)
  end))

  it("shows another name and hides the true one; the other end puts it back", helpers.task(function()
    for _, cut in ipairs { 0, 100 } do
      local address, got = capture()
      local p = far(address)
      local near = proxy.start { "-L", "tcp://127.0.0.1:0/x:1", "-F",
        ("sni://127.0.0.1:%d?host=cover.example"):format(p:port(1)) }
      local hello = hello_for("www.example.com", cut > 0 and cut or nil)
      assert.equal("seen", send(near:port(1), hello:sub(1, 90), hello:sub(91) .. "early"))
      local whole = hello_for("www.example.com") .. "early" -- records are joined on the way
      assert.equal(whole, got(#whole))
      p:logged("www.example.com:443", true)
      proxy.stop_all()
    end
  end))

  it("hides the name as gost does", helpers.task(function()
    local address, got = capture()
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/x:1", "-F", ("sni://%s?host=cover.example"):format(address) }
    assert.equal("seen", send(near:port(1), hello_for "example.com"))
    local bytes = got(100)
    assert.equal("tvpOuVpYaGhiWEJzWlM1amIyMA", client_hello.hidden(bytes))
    assert.truthy(bytes:find("cover.example", 1, true))
    assert.is_nil(bytes:find("\0example.com", 1, true))
    assert.equal("tvpOuVpYaGhiWEJzWlM1amIyMA", bytes:sub(-26)) -- the last extension
  end))

  it("hides the Host of a request", helpers.task(function()
    local address, got = capture()
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/x:1", "-F", ("sni://%s?host=cover.example"):format(address) }
    send(near:port(1), "GET / HTTP/1.1\r\nHost: example.", "com\r\nA: b\r\n\r\nbody")
    local expected = "GET / HTTP/1.1\r\nHost: cover.example\r\nGost-Target: tvpOuVpYaGhiWEJzWlM1amIyMA\r\n"
      .. "A: b\r\n\r\nbody"
    assert.equal(expected, got(#expected))

    local last, seen = capture()
    local p = far(last)
    assert.equal("seen", send(p:port(1), expected))
    local restored = "GET / HTTP/1.1\r\nHost: example.com\r\nA: b\r\n\r\nbody"
    assert.equal(restored, seen(#restored))
    p:logged("example.com:80", true)
  end))

  it("lets other protocols through its connector as they are", helpers.task(function()
    local address, got = capture "SSH-2.0-server\r\n"
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/x:1", "-F", ("sni://%s?host=cover.example"):format(address) }
    assert.equal("SSH-2.0-server\r\n", send(near:port(1), "SSH-2.0-client\r\n"))
    assert.equal("SSH-2.0-client\r\n", got(16))
  end))

  it("ignores a hidden name whose checksum is wrong", helpers.task(function()
    local address, got = capture()
    local p = far(address)
    send(p:port(1), "GET / HTTP/1.1\r\nHost: a.example\r\nGost-Target: tvpOuVpZaGhiWEJzWlM1amIyMA\r\n\r\n")
    got(20)
    p:logged("a.example:80", true)
    assert.is_nil(name.decode "tvpOuVpZaGhiWEJzWlM1amIyMA")
  end))

  it("refuses what names nothing", helpers.task(function()
    local p = far((capture()))
    for _, bytes in ipairs {
      "SSH-2.0-x\r\n", "GET / HTTP/1.0\r\n\r\n", "\22\3\1\0\5\2\0\0\1\0", "*1\r\n$4\r\nPING\r\n", ("A"):rep(100000),
      hello_for "",
    } do
      assert.is_nil((send(p:port(1), bytes)))
    end
    local function warnings()
      return select(2, p:log():gsub('"level":"warn"', ""))
    end
    helpers.eventually(function()
      return warnings() >= 6
    end, "not all are told")
    assert.equal(6, warnings(), p:log())
  end))
end)
