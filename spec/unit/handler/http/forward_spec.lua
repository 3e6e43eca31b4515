-- Forwarded requests: what the origin sees, what the client gets, and when connections live on.

local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local http = require "spec.helpers.http"
local task = require "tidegate.native.task"

local GET = "GET http://example.com/a?b=1 HTTP/1.1\r\nHost: example.com\r\n"
local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

describe("handler http: forwarding", function()
  local handler, client, result, ctx

  local function start(md, options)
    handler = http.instance("handler", md)
    client, result, ctx = http.serve(handler, options)
  end

  -- The upstream of a number, once it is there.
  local function origin(number)
    helpers.eventually(function()
      return ctx.upstreams[number]
    end, "no upstream")
    return ctx.upstreams[number]
  end

  local function finish()
    client:close()
    for _, s in ipairs(ctx.upstreams) do
      s:close()
    end
    return result()
  end

  it("rewrites the request and leaves out what was meant for the proxy", helpers.task(function()
    start()
    client:write(GET .. "Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\n"
      .. "Keep-Alive: 5\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nGost-Record: r\r\n"
      .. "Accept: */*\r\nx-Case: Kept\r\n\r\n")
    assert.equal("GET /a?b=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: Go-http-client/1.1\r\n"
      .. "Accept: */*\r\nx-Case: Kept\r\nConnection: close\r\n\r\n", http.read_head(origin(1)))
    assert.same({ "example.com:80" }, ctx.asked)
    origin(1):write(OK)
    assert.equal(OK, client:read_exact(#OK))
    finish()
  end))

  it("keeps the client's agent, port and path", helpers.task(function()
    for line, wanted in pairs {
      ["GET http://example.com:8080"] = { "example.com:8080", "GET / " },
      ["GET http://user:pw@[::1]:81?q"] = { "[::1]:81", "GET /?q " },
      ["OPTIONS http://example.com"] = { "example.com:80", "OPTIONS * " },
      ["HEAD http://example.com/x#frag"] = { "example.com:80", "HEAD /x " },
    } do
      start()
      client:write(line .. " HTTP/1.1\r\nHost: other\r\nUser-Agent: me\r\n\r\n")
      local seen = http.read_head(origin(1))
      assert.same({ wanted[1] }, ctx.asked)
      assert.equal(wanted[2], seen:sub(1, #wanted[2]))
      assert.is_nil(seen:find("other", 1, true))
      assert.is_nil(seen:find("Go-http", 1, true))
      finish()
    end
  end))

  it("takes a request to itself for one to its Host", helpers.task(function()
    start()
    client:write("GET /x HTTP/1.1\r\nHost: example.com:8080\r\n\r\n")
    assert.matches("^GET /x HTTP/1.1\r\nHost: example.com:8080\r\n", http.read_head(origin(1)))
    assert.same({ "example.com:8080" }, ctx.asked)
    finish()
  end))

  it("serves many requests of one client, one after the other", helpers.task(function()
    start()
    client:write((GET .. "\r\n"):rep(3)) -- pipelined
    for i = 1, 3 do
      http.read_head(origin(i))
      origin(i):write(OK)
      assert.equal(OK, client:read_exact(#OK))
    end
    client:shutdown()
    assert.is_true(result())
    finish()
  end))

  it("keeps the client's connection although the origin closes its own", helpers.task(function()
    start()
    client:write(GET .. "\r\n")
    http.read_head(origin(1))
    origin(1):write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    assert.equal(OK, client:read_exact(#OK))
    client:write(GET .. "\r\n")
    http.read_head(origin(2))
    finish()
  end))

  it("closes with a client that wants it", helpers.task(function()
    start()
    client:write(GET .. "Connection: close\r\n\r\n")
    http.read_head(origin(1))
    origin(1):write(OK)
    assert.equal("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
      http.read_all(client))
    assert.is_true(result())
    finish()
  end))

  it("ends a response without a length by closing", helpers.task(function()
    start()
    client:write(GET .. "\r\n")
    http.read_head(origin(1))
    origin(1):write("HTTP/1.1 200 Fine\r\nA: b\r\n\r\nso ")
    helpers.pass()
    origin(1):write("long")
    origin(1):shutdown()
    assert.equal("HTTP/1.1 200 Fine\r\nA: b\r\nConnection: close\r\n\r\nso long",
      http.read_all(client))
    finish()
  end))

  it("passes chunks and trailers on as they are", helpers.task(function()
    start()
    client:write(GET .. "\r\n")
    http.read_head(origin(1))
    local chunks = "2;x=y\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
    local head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    origin(1):write(head .. chunks)
    assert.equal(head .. chunks, client:read_exact(#head + #chunks))
    client:write(GET .. "\r\n")
    http.read_head(origin(2))
    finish()
  end))

  for status, line in pairs { [204] = "204 No Content", [304] = "304 Not Modified" } do
    it("knows that " .. status .. " has no body", helpers.task(function()
      start()
      client:write(GET .. "\r\n")
      http.read_head(origin(1))
      local head = "HTTP/1.1 " .. line .. "\r\nContent-Length: 7\r\n\r\n"
      origin(1):write(head)
      assert.equal(head, http.read_head(client))
      client:write(GET .. "\r\n")
      http.read_head(origin(2))
      finish()
    end))
  end

  it("knows that the answer to HEAD has no body", helpers.task(function()
    start()
    client:write("HEAD http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n")
    http.read_head(origin(1))
    local head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    origin(1):write(head)
    assert.equal(head, http.read_head(client))
    client:write(GET .. "\r\n")
    http.read_head(origin(2))
    finish()
  end))

  describe("for HTTP/1.0", function()
    local GET_10 = "GET http://example.com/ HTTP/1.0\r\n"

    it("answers in kind and closes", helpers.task(function()
      start()
      client:write(GET_10 .. "\r\n")
      assert.matches("^GET / HTTP/1.1\r\nHost: example.com\r\n", http.read_head(origin(1)))
      origin(1):write("HTTP/1.1 100 Continue\r\n\r\n" .. OK)
      assert.equal("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        http.read_all(client))
      finish()
    end))

    it("stays when asked to", helpers.task(function()
      start()
      client:write(GET_10 .. "Connection: keep-alive\r\n\r\n")
      http.read_head(origin(1))
      origin(1):write(OK)
      local wanted = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
      assert.equal(wanted, client:read_exact(#wanted))
      client:write(GET_10 .. "\r\n")
      http.read_head(origin(2))
      finish()
    end))

    it("takes the chunks apart", helpers.task(function()
      start()
      client:write(GET_10 .. "Connection: keep-alive\r\n\r\n")
      http.read_head(origin(1))
      origin(1):write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n"
        .. "2\r\nok\r\n3\r\n go\r\n0\r\nA: b\r\n\r\n")
      assert.equal("HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nok go", http.read_all(client))
      finish()
    end))
  end)

  describe("with a body", function()
    local POST = "POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\n"

    it("sends it by length and takes the next request after it", helpers.task(function()
      start()
      client:write(POST .. "Content-Length: 5\r\n\r\nhello" .. GET .. "\r\n")
      assert.matches("Content%-Length: 5\r\n", http.read_head(origin(1)))
      assert.equal("hello", origin(1):read_exact(5))
      origin(1):write(OK)
      assert.equal(OK, client:read_exact(#OK))
      http.read_head(origin(2))
      finish()
    end))

    it("sends it in chunks, byte by byte", helpers.task(function()
      start()
      local chunks = "5\r\nhello\r\n0\r\nX: y\r\n\r\n"
      for byte in (POST .. "Transfer-Encoding: chunked\r\n\r\n" .. chunks):gmatch "." do
        client:write(byte)
        helpers.pass()
      end
      assert.matches("Transfer%-Encoding: chunked\r\n", http.read_head(origin(1)))
      assert.equal(chunks, origin(1):read_exact(#chunks))
      origin(1):write(OK)
      assert.equal(OK, client:read_exact(#OK))
      finish()
    end))

    it("relays the permission to continue", helpers.task(function()
      start()
      client:write(POST .. "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
      assert.matches("Expect: 100%-continue\r\n", http.read_head(origin(1)))
      origin(1):write("HTTP/1.1 100 Continue\r\n\r\n")
      assert.equal("HTTP/1.1 100 Continue\r\n\r\n", http.read_head(client))
      client:write("hello")
      assert.equal("hello", origin(1):read_exact(5))
      origin(1):write(OK)
      assert.equal(OK, client:read_exact(#OK))
      client:write(GET .. "\r\n")
      http.read_head(origin(2))
      finish()
    end))

    it("relays a refusal in its place and closes", helpers.task(function()
      start()
      client:write(POST .. "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
      http.read_head(origin(1))
      origin(1):write("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
      assert.equal("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n"
        .. "Connection: close\r\n\r\n", http.read_all(client))
      client:close()
      assert.is_true(result())
      finish()
    end))

    it("passes an early answer on while the upload goes on", helpers.task(function()
      start()
      client:write(POST .. "Content-Length: 1000000\r\n\r\nstart")
      http.read_head(origin(1))
      origin(1):write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
      origin(1):close()
      local upload = helpers.spawn(function()
        for _ = 1, 50 do
          if not client:write(("x"):rep(10000)) then
            break
          end
        end
        client:shutdown()
      end)
      assert.equal("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig",
        http.read_all(client))
      upload()
      result()
      finish()
    end))

    it("works in both directions at once", helpers.task(function()
      start()
      client:write(POST .. "Transfer-Encoding: chunked\r\n\r\n")
      http.read_head(origin(1))
      origin(1):write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
      assert.matches("^HTTP/1.1 200 OK\r\n", http.read_head(client))
      for i = 1, 20 do
        local chunk = ("%x\r\n%s\r\n"):format(i, ("x"):rep(i))
        client:write(chunk)
        assert.equal(chunk, origin(1):read_exact(#chunk))
        origin(1):write(chunk)
        assert.equal(chunk, client:read_exact(#chunk))
      end
      client:write("0\r\n\r\n")
      assert.equal("0\r\n\r\n", origin(1):read_exact(5))
      origin(1):write("0\r\n\r\n")
      assert.equal("0\r\n\r\n", http.read_all(client))
      finish()
    end))

    it("gives up a request whose client left in the middle", helpers.task(function()
      start()
      client:write(POST .. "Content-Length: 5\r\n\r\nhe")
      http.read_head(origin(1))
      client:shutdown()
      local _, err = result()
      assert.equal("eof", err.code)
      assert.equal("he", http.read_all(origin(1)))
      finish()
    end))

    it("gives up a client that stops in the middle", helpers.task(function()
      start { bodyTimeout = "30ms" }
      client:write(POST .. "Content-Length: 5\r\n\r\nhe")
      local _, err = result()
      assert.equal("timeout", err.code)
      finish()
    end))

    it("refuses broken chunks", helpers.task(function()
      start()
      client:write(POST .. "Transfer-Encoding: chunked\r\n\r\n5\nhello")
      local _, err = result()
      assert.equal("protocol", err.code)
      finish()
    end))
  end)

  describe("when the origin fails", function()
    local UNAVAILABLE = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

    it("says 503 when there is none", helpers.task(function()
      start({}, { fail = failure.new("refused", "no") })
      client:write(GET .. "\r\n")
      assert.equal(UNAVAILABLE, http.read_all(client))
      local ok, err = result()
      assert.is_nil(ok)
      assert.equal("refused", err.code)
      finish()
    end))

    for name, bytes in pairs {
      ["nothing"] = "",
      ["half a head"] = "HTTP/1.1 200 OK\r\nConte",
      ["noise"] = "SSH-2.0-x\r\n\r\n",
      ["two lengths"] = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
      ["an upgrade nobody wanted"] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    } do
      it("says 503 after " .. name, helpers.task(function()
        start()
        client:write(GET .. "\r\n")
        http.read_head(origin(1))
        origin(1):write(bytes)
        origin(1):close()
        assert.equal(UNAVAILABLE, http.read_all(client))
        assert.is_nil((result()))
        finish()
      end))
    end

    it("says 503 after too long a wait", helpers.task(function()
      start { readTimeout = "30ms" }
      client:write(GET .. "\r\n")
      http.read_head(origin(1))
      assert.equal(UNAVAILABLE, http.read_all(client))
      local _, err = result()
      assert.equal("timeout", err.code)
      finish()
    end))

    it("counts the wait from the end of the upload", helpers.task(function()
      start { readTimeout = "500ms" }
      client:write("PUT http://example.com/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
      http.read_head(origin(1))
      for byte in ("body"):gmatch "." do
        task.sleep(0.2)
        client:write(byte)
      end
      assert.equal("body", origin(1):read_exact(4))
      origin(1):write(OK)
      assert.equal(OK, client:read_exact(#OK))
      finish()
    end))

    it("breaks off a response that breaks off", helpers.task(function()
      start()
      client:write(GET .. "\r\n")
      http.read_head(origin(1))
      origin(1):write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
      origin(1):close()
      assert.equal("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", http.read_all(client))
      local _, err = result()
      assert.equal("eof", err.code)
      finish()
    end))
  end)

  it("asks policy for every request", helpers.task(function()
    start({}, { blocked = { ["evil.example:80"] = true } })
    client:write(GET .. "\r\n")
    http.read_head(origin(1))
    origin(1):write(OK)
    assert.equal(OK, client:read_exact(#OK))
    client:write("GET http://evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n" .. GET .. "\r\n")
    assert.equal("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", http.read_head(client))
    http.read_head(origin(2))
    finish()
  end))

  it("asks for credentials once, or every time", helpers.task(function()
    for every, answer in pairs { [false] = "200", [true] = "407" } do
      start({ authEveryRequest = every }, { users = { user = "pa:ss" } })
      client:write(GET .. "Proxy-Authorization: Basic dXNlcjpwYTpzcw==\r\n\r\n")
      http.read_head(origin(1))
      origin(1):write(OK)
      assert.equal(OK, client:read_exact(#OK))
      client:write(GET .. "\r\n")
      if not every then
        http.read_head(origin(2))
        origin(2):write(OK)
      end
      assert.matches("^HTTP/1.1 " .. answer, http.read_head(client))
      finish()
    end
  end))

  it("opens a tunnel on a connection that has served requests", helpers.task(function()
    start()
    client:write(GET .. "\r\n")
    http.read_head(origin(1))
    origin(1):write(OK)
    assert.equal(OK, client:read_exact(#OK))
    client:write("CONNECT example.com:443 HTTP/1.1\r\n\r\nhello")
    assert.matches("^HTTP/1.1 200 Connection established", http.read_head(client))
    assert.equal("hello", origin(2):read_exact(5))
    finish()
  end))

  describe("with compression", function()
    local PACKED = ("1f8b0800000000000203cbcdcfcf0300e847ece304000000"):gsub("%x%x", function(hex)
      return string.char(tonumber(hex, 16))
    end)
    local FIELDS = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n"
    local PACKED_OK = "HTTP/1.1 200 OK\r\n" .. FIELDS
      .. ("Content-Length: %d\r\n\r\n%s"):format(#PACKED, PACKED)

    it("asks for gzip and unpacks it", helpers.task(function()
      start { compression = true }
      client:write(GET .. "\r\n")
      assert.matches("\r\nAccept%-Encoding: gzip\r\n", http.read_head(origin(1)))
      origin(1):write(PACKED_OK)
      local wanted = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        .. "Transfer-Encoding: chunked\r\n\r\n4\r\nmoon\r\n0\r\n\r\n"
      assert.equal(wanted, client:read_exact(#wanted))
      client:write("GET http://example.com/ HTTP/1.0\r\n\r\n")
      http.read_head(origin(2))
      origin(2):write(PACKED_OK)
      assert.equal("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nmoon",
        http.read_all(client))
      finish()
    end))

    it("leaves alone what the client asked for", helpers.task(function()
      start { compression = true }
      client:write(GET .. "Accept-Encoding: gzip, br\r\n\r\n")
      http.read_head(origin(1))
      origin(1):write(PACKED_OK)
      assert.equal(PACKED_OK, client:read_exact(#PACKED_OK))
      finish()
    end))
  end)

  describe("an upgrade", function()
    local UPGRADE = "GET http://example.com/chat HTTP/1.1\r\nHost: example.com\r\n"
      .. "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"

    it("becomes a tunnel, bytes sent early included", helpers.task(function()
      start { idleTimeout = 9 }
      client:write(UPGRADE .. "early")
      local seen = http.read_head(origin(1))
      assert.matches("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n$", seen)
      assert.is_nil(seen:find("close", 1, true))
      origin(1):write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n"
        .. "Connection: upgrade\r\nX: y\r\n\r\nframe")
      assert.equal("HTTP/1.1 101 Switching Protocols\r\nX: y\r\nConnection: Upgrade\r\n"
        .. "Upgrade: WebSocket\r\n\r\n", http.read_head(client))
      assert.equal("frame", client:read_exact(5))
      assert.equal("early", origin(1):read_exact(5))
      assert.is_true(result())
      assert.equal(9000, ctx.relays[1].idle)
      finish()
    end))

    it("may be declined", helpers.task(function()
      start()
      client:write(UPGRADE)
      http.read_head(origin(1))
      origin(1):write(OK)
      assert.equal(OK, client:read_exact(#OK))
      finish()
    end))
  end)

  describe("with keep-alive to origins", function()
    it("uses a connection again", helpers.task(function()
      start { keepalive = true }
      for _ = 1, 3 do
        client:write(GET .. "\r\n")
        assert.is_nil(http.read_head(origin(1)):find("Connection", 1, true))
        origin(1):write(OK)
        assert.equal(OK, client:read_exact(#OK))
      end
      assert.equal(1, #ctx.upstreams)
      client:close()
      result()
      handler:close()
      assert.equal("", http.read_all(origin(1)))
      origin(1):close()
    end))

    it("takes another one when the old one is closed", helpers.task(function()
      start { keepalive = true }
      client:write(GET .. "\r\n")
      http.read_head(origin(1))
      origin(1):write(OK)
      assert.equal(OK, client:read_exact(#OK))
      origin(1):close()
      helpers.pass()
      client:write(GET .. "\r\n")
      http.read_head(origin(2))
      origin(2):write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
      assert.equal(OK, client:read_exact(#OK))
      client:write(GET .. "\r\n")
      http.read_head(origin(3))
      client:close()
      origin(2):close()
      origin(3):close()
      result()
      handler:close()
    end))

    it("repeats a request that met a dying connection", helpers.task(function()
      start { keepalive = true }
      client:write(GET .. "\r\n")
      http.read_head(origin(1))
      origin(1):write(OK)
      assert.equal(OK, client:read_exact(#OK))
      client:write(GET .. "\r\n")
      http.read_head(origin(1))
      origin(1):close()
      http.read_head(origin(2))
      origin(2):write(OK)
      assert.equal(OK, client:read_exact(#OK))
      client:close()
      result()
      origin(2):close()
      handler:close()
    end))
  end)
end)
