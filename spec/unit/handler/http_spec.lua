-- The HTTP handler's replies byte for byte, its tunnels, and who may use them.

local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local http = require "spec.helpers.http"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local ESTABLISHED = "HTTP/1.1 200 Connection established\r\nProxy-Agent: gost/3.0\r\n\r\n"
local DEMAND = "HTTP/1.1 407 Proxy Authentication Required\r\nConnection: close\r\n"
  .. 'Proxy-Authenticate: Basic realm="gost"\r\n\r\n'
local CONNECT = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"

-- Send a request and return all of the answer, what handle() returned and its context.
local function ask(md, options, bytes)
  local client, result, ctx = http.serve(http.instance("handler", md), options)
  client:write(bytes)
  local answer = http.read_all(client)
  client:close()
  local ok, err = result()
  return answer, ok, err, ctx
end

describe("handler http: CONNECT", function()
  it("answers exactly and relays both ways", helpers.task(function()
    local client, result, ctx = http.serve(http.instance("handler"))
    client:write(CONNECT)
    assert.equal(ESTABLISHED, client:read_exact(#ESTABLISHED))
    assert.is_true(result())
    assert.same({ "example.com:443" }, ctx.asked)
    client:write("ping")
    assert.equal("ping", ctx.upstreams[1]:read_exact(4))
    ctx.upstreams[1]:write("pong")
    assert.equal("pong", client:read_exact(4))
    client:close()
    ctx.upstreams[1]:close()
  end))

  it("passes on what the client sent along with its request", helpers.task(function()
    local client, result, ctx = http.serve(http.instance("handler"))
    client:write(CONNECT .. "\22\3\1hello")
    assert.is_true(result())
    assert.equal("\22\3\1hello", ctx.upstreams[1]:read_exact(8))
    client:close()
    ctx.upstreams[1]:close()
  end))

  it("takes a request one byte at a time", helpers.task(function()
    local client, result, ctx = http.serve(http.instance("handler"))
    for byte in CONNECT:gmatch "." do
      client:write(byte)
      helpers.pass()
    end
    assert.equal(ESTABLISHED, client:read_exact(#ESTABLISHED))
    assert.is_true(result())
    client:close()
    ctx.upstreams[1]:close()
  end))

  for authority, address in pairs {
    ["example.com"] = "example.com:80",
    ["[2001:db8::1]:443"] = "[2001:db8::1]:443",
    ["[2001:db8::1]"] = "[2001:db8::1]:80",
    ["192.0.2.1:22"] = "192.0.2.1:22",
  } do
    it("leads " .. authority .. " to " .. address, helpers.task(function()
      local client, result, ctx = http.serve(http.instance("handler"))
      client:write("CONNECT " .. authority .. " HTTP/1.1\r\n\r\n")
      assert.equal(ESTABLISHED, client:read_exact(#ESTABLISHED))
      assert.is_true(result())
      assert.same({ address }, ctx.asked)
      client:close()
      ctx.upstreams[1]:close()
    end))
  end

  it("follows a hidden name", helpers.task(function()
    for _, field in ipairs { "Gost-Target", "X-Gost-Target" } do
      local client, result, ctx = http.serve(http.instance("handler"))
      client:write("CONNECT decoy:443 HTTP/1.1\r\n" .. field
        .. ": tvpOuVpYaGhiWEJzWlM1amIyMA\r\n\r\n")
      assert.equal(ESTABLISHED, client:read_exact(#ESTABLISHED))
      assert.is_true(result())
      assert.same({ "example.com:80" }, ctx.asked)
      client:close()
      ctx.upstreams[1]:close()
    end
  end))

  it("says 503 when nobody is there", helpers.task(function()
    local answer, ok, err = ask({}, { fail = failure.new("refused", "no") }, CONNECT)
    assert.equal("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
      .. "Proxy-Agent: gost/3.0\r\n\r\n", answer)
    assert.is_nil(ok)
    assert.equal("refused", err.code)
  end))

  it("says 403 to what policy forbids, with the configured fields", helpers.task(function()
    local options = { blocked = { ["example.com:443"] = true } }
    local answer, _, err = ask({}, options, CONNECT)
    assert.equal("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nProxy-Agent: gost/3.0\r\n\r\n",
      answer)
    assert.equal("blocked", err.code)

    answer = ask({ header = { ["x-b"] = "2", Via = "me" }, proxyAgent = "moon" }, options, CONNECT)
    assert.equal("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nProxy-Agent: moon\r\n"
      .. "Via: me\r\nX-B: 2\r\n\r\n", answer)
  end))

  it("names itself as configured, and adds nothing to the success", helpers.task(function()
    local client, result, ctx = http.serve(http.instance("handler",
      { ["http.proxyAgent"] = "moon", header = { A = "b" }, idleTimeout = "7s" }))
    client:write(CONNECT)
    assert.equal("HTTP/1.1 200 Connection established\r\nProxy-Agent: moon\r\n\r\n",
      http.read_head(client))
    assert.is_true(result())
    assert.equal(7000, ctx.relays[1].idle)
    client:close()
    ctx.upstreams[1]:close()
  end))
end)

describe("handler http: what is no request", function()
  for name, bytes in pairs {
    ["an encrypted URL"] = "GET https://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
    ["an unusable host"] = "GET http://a:b:c/ HTTP/1.1\r\nHost: x\r\n\r\n",
    ["no host at all"] = "GET / HTTP/1.0\r\n\r\n",
    ["a port out of range"] = "CONNECT example.com:70000 HTTP/1.1\r\n\r\n",
    ["the preface of HTTP/2"] = "PRI * HTTP/1.1\r\n\r\n",
  } do
    it("says 400 to " .. name, helpers.task(function()
      local answer, ok, err, ctx = ask({}, {}, bytes)
      assert.equal("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", answer)
      assert.is_nil(ok)
      assert.equal("protocol", err.code)
      assert.same({}, ctx.asked)
    end))
  end

  it("adds the configured fields to 400, without naming itself", helpers.task(function()
    local answer = ask({ header = { a = "b" } }, {}, "GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.equal("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nA: b\r\n\r\n", answer)
  end))

  local START = "POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\n"
  for name, fields in pairs {
    ["a length and chunks"] = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    ["two lengths"] = "Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
    ["a signed length"] = "Content-Length: +3\r\n\r\n",
    ["a list of lengths"] = "Content-Length: 3, 3\r\n\r\n",
    ["a coding without an end"] = "Transfer-Encoding: gzip\r\n\r\n",
    ["a coding after chunks"] = "Transfer-Encoding: chunked, gzip\r\n\r\n",
    ["a length beyond reason"] = "Content-Length: 9999999999999999\r\n\r\n",
    ["chunks twice"] = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    ["a blank before the colon"] = "Transfer-Encoding : chunked\r\n\r\n",
    ["a folded line"] = "X: a\r\n b\r\n\r\n",
    ["two hosts"] = "Host: evil\r\n\r\n",
    ["a line feed alone"] = "X: a\nTransfer-Encoding: chunked\r\n\r\n",
    ["a zero byte"] = "X: a\0b\r\n\r\n",
    ["a line without a name"] = ": x\r\n\r\n",
  } do
    it("refuses " .. name, helpers.task(function()
      local answer, ok, _, ctx = ask({}, {}, START .. fields)
      assert.equal("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", answer)
      assert.is_nil(ok)
      assert.same({}, ctx.asked)
    end))
  end

  it("refuses a head without end", helpers.task(function()
    local answer, _, err = ask({}, {}, "GET http://x/ HTTP/1.1\r\n" .. ("X: y\r\n"):rep(20000))
    assert.matches("^HTTP/1.1 4%d%d ", answer)
    assert.equal("limit", err.code)
  end))

  it("gives a silent client its time and no more", helpers.task(function()
    local client, result = http.serve(http.instance("handler", { headTimeout = "30ms" }))
    client:write("GET http://x/ HT")
    local _, err = result()
    assert.equal("timeout", err.code)
    assert.equal("", http.read_all(client))
    client:close()
  end))
end)

describe("handler http: credentials", function()
  local users = { users = { ["us:er"] = "never", user = "pa:ss" } }
  local function connect(fields)
    return "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n" .. fields .. "\r\n"
  end

  it("lets those in who have them", helpers.task(function()
    local client, result, ctx = http.serve(http.instance("handler"), users)
    client:write(connect("proxy-authorization: Basic dXNlcjpwYTpzcw==\r\n"))
    assert.equal(ESTABLISHED, client:read_exact(#ESTABLISHED))
    assert.is_true(result())
    assert.equal("user", ctx.user)
    client:close()
    ctx.upstreams[1]:close()
  end))

  for _, fields in ipairs {
    "",
    "Proxy-Authorization: Basic dXNlcjp3cm9uZw==\r\n",
    "Proxy-Authorization: basic dXNlcjpwYTpzcw==\r\n",
    "Proxy-Authorization: Basic %%%\r\n",
    "Proxy-Authorization: Basic dXNlcjpwYTpzcw\r\n",
    "Authorization: Basic dXNlcjpwYTpzcw==\r\n",
  } do
    it(("demands them after %q"):format(fields), helpers.task(function()
      local answer, ok, err, ctx = ask({}, users, connect(fields))
      assert.equal(DEMAND, answer)
      assert.is_nil(ok)
      assert.equal("auth", err.code)
      assert.same({}, ctx.asked)
    end))
  end

  it("demands them in its own realm, and closes what should stay open", helpers.task(function()
    local answer = ask({ authBasicRealm = "moon" }, users,
      connect("Proxy-Connection: Keep-Alive\r\n"))
    assert.equal('HTTP/1.1 407 Proxy Authentication Required\r\nConnection: close\r\n'
      .. 'Proxy-Authenticate: Basic realm="moon"\r\nProxy-Connection: close\r\n\r\n', answer)
  end))

  it("shows a status as a decoy", helpers.task(function()
    local function decoy(value)
      return (ask({ probeResist = value }, users, CONNECT))
    end
    assert.equal("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n", decoy "code:404")
    assert.equal("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n", decoy "code:x")
    assert.equal("HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
      decoy "code:200")
    assert.equal(DEMAND, decoy "code:0")
  end))

  it("shows a file as a decoy", helpers.task(function()
    local path = os.tmpname()
    local file = io.open(path, "wb")
    file:write("<p>moon</p>")
    file:close()
    local answer = ask({ probeResist = "file:" .. path }, users, CONNECT)
    os.remove(path)
    assert.equal("HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: keep-alive\r\n"
      .. "Content-Type: text/html\r\n\r\n<p>moon</p>", answer)
    assert.equal("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n",
      (ask({ probeResist = "file:" .. path }, users, CONNECT)))
  end))

  it("tells those who know the word", helpers.task(function()
    local md = { probeResist = "code:404", knock = "Secret.example,other.example" }
    assert.equal("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n", (ask(md, users, CONNECT)))
    assert.equal(DEMAND, (ask(md, users, "CONNECT secret.EXAMPLE:443 HTTP/1.1\r\n\r\n")))
    assert.equal(DEMAND, (ask(md, users,
      "GET http://other.example/x HTTP/1.1\r\nHost: a\r\n\r\n")))
    assert.matches(" 404 ", (ask(md, users,
      "GET / HTTP/1.1\r\nHost: secret.example\r\n\r\n"))) -- not in the URL
  end))

  it("says nothing to noise when it hides", helpers.task(function()
    assert.equal("", (ask({ probeResist = "code:404" }, users, "\22\3\1\2\r\n\r\n")))
  end))

  it("refuses an unknown kind of decoy", helpers.task(function()
    assert.has_error(function() http.instance("handler", { probeResist = "mirror:1" }) end)
  end))

  describe("with a decoy elsewhere", function()
    local listener = require "tidegate.native.listener"
    local door, fd, address

    -- One connection that gets `answer`; what it sent is returned by the result.
    local function origin(answer)
      local accepted = task.waiter()
      fd = assert(listener.open("127.0.0.1:0", "stream", 1))[1]
      address = listener.address(fd)
      door = listener.accept(fd, function(s)
        s:set_deadline(task.now() + 10000)
        local seen = http.read_head(s)
        s:write(answer)
        s:shutdown()
        accepted:wake(seen)
        s:read()
        s:close()
      end)
      return function() return accepted:wait(task.now() + 10000) end
    end

    after_each(function()
      door:close()
      listener.close_fd(fd)
    end)

    it("shows a page of the web", helpers.task(function()
      local seen = origin("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nServer: sun\r\n\r\npage")
      local answer = ask({ probeResist = "web:" .. address .. "/x?y" }, users, CONNECT)
      assert.equal("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nServer: sun\r\n"
        .. "Connection: keep-alive\r\n\r\npage", answer)
      local wanted = "GET /x?y HTTP/1.1\r\nHost: " .. address .. "\r\n"
      assert.equal(wanted, seen():sub(1, #wanted))
    end))

    it("shows another host", helpers.task(function()
      local seen = origin("HTTP/1.1 302 Found\r\n\r\nraw")
      local answer = ask({ probeResist = "host:" .. address }, users,
        "GET http://a.example/b HTTP/1.1\r\nHost: a.example\r\nProxy-Authorization: Basic eA==\r\n"
        .. "X: y\r\n\r\n")
      assert.equal("HTTP/1.1 302 Found\r\n\r\nraw", answer)
      assert.equal("GET /b HTTP/1.1\r\nHost: a.example\r\nX: y\r\n\r\n", seen())
    end))
  end)
end)

describe("handler http: UDP", function()
  local REQUEST = "CONNECT  HTTP/1.1\r\nHost: \r\nX-Gost-Protocol: udp\r\n\r\n"

  it("is forbidden unless allowed", helpers.task(function()
    assert.equal("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", (ask({}, {}, REQUEST)))
    assert.equal("HTTP/1.1 403 Forbidden\r\nProxy-Agent: gost/3.0\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n",
      (ask({ header = { ["x-a"] = "1" } }, {}, REQUEST)))
  end))

  it("asks policy first", helpers.task(function()
    local answer = ask({ udp = true }, { blocked = { ["8.8.8.8:53"] = true } },
      "CONNECT 8.8.8.8:53 HTTP/1.1\r\nX-Gost-Protocol: udp\r\n\r\n")
    assert.matches("^HTTP/1.1 403 Forbidden\r\nConnection: close\r\n", answer)
  end))
end)

describe("handler http: idle clients", function()
  it("leave without a trace", helpers.task(function()
    local client, server = stream.pair()
    local handler = http.instance("handler")
    local result = helpers.spawn(handler.handle, handler, http.ctx(), server)
    client:close()
    local ok, err = result()
    assert.is_nil(ok)
    assert.equal("eof", err.code)
    server:close()
  end))
end)
