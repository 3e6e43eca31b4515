-- TLS over pairs of streams: handshakes, data in both directions, ends and failures.

local fixture = require "spec.helpers.tls"
local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "tidegate.native.tls"

local function close(...)
  for i = 1, select("#", ...) do
    local s = select(i, ...)
    if s then
      s:close()
    end
  end
end

-- Both ends say something; the handshake alone proves little in TLS 1.3.
local function exchange(s, c)
  assert.is_true(c:write "ping")
  assert.equal("ping", s:read_exact(4))
  assert.is_true(s:write "pong")
  assert.equal("pong", c:read_exact(4))
end

local function pattern(length, seed)
  local parts, n = {}, 0
  while n < length do
    local part = ("%d:%d,"):format(seed, n)
    parts[#parts + 1] = part
    n = n + #part
  end
  return table.concat(parts):sub(1, length)
end

describe("tls", function()
  it("shakes hands and carries data", helpers.task(function()
    local s, c = fixture.pair({}, {}, "localhost")
    exchange(s, c)
    local info = tls.info(c)
    assert.equal("TLSv1.3", info.version)
    assert.equal("TLS_AES_128_GCM_SHA256", info.cipher)
    assert.equal("localhost", info.peer_cn)
    assert.same({ "localhost" }, info.peer_san)
    assert.matches("^%x+$", info.peer_fingerprint)
    assert.equal(64, #info.peer_fingerprint)
    assert.equal("localhost", tls.info(s).server_name)
    assert.is_nil(info.alpn)
    assert.equal("tls", s:layer())
    close(s, c)
  end))

  it("speaks the versions asked for", helpers.task(function()
    for _, version in ipairs { "1.0", "1.1", "1.2", "1.3" } do
      local s, c, _, err = fixture.pair({ min = "1.0" },
        { min = version, max = version }, "localhost")
      assert(c, tostring(err))
      exchange(s, c)
      assert.equal("TLSv" .. version:gsub("%.0$", ""), tls.info(s).version)
      close(s, c)
    end
  end))

  it("says that there is no version in common", helpers.task(function()
    local s, c, server_error, client_error = fixture.pair({ min = "1.3" }, { max = "1.2" })
    assert.is_nil(s)
    assert.is_nil(c)
    assert.equal("tls", server_error.code)
    assert.matches("no TLS version in common", tostring(server_error))
    assert.matches("protocol version", tostring(client_error))
  end))

  it("takes cipher suites by their IANA and Go names", helpers.task(function()
    local names = {
      "tls_ecdhe_ecdsa_with_chacha20_poly1305", "TLS_NO_SUCH_THING", "TLS_AES_256_GCM_SHA384",
    }
    local s, c = fixture.pair({ ciphers = names, max = "1.2" }, {})
    assert.equal("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", tls.info(c).cipher)
    close(s, c)
    local context, err = tls.context { role = "client", ciphers = { "TLS_NO_SUCH_THING" } }
    assert.is_nil(context)
    assert.equal("config", err.code)
    assert.matches("none of the cipher suites", err.message)
  end))

  it("agrees on an application protocol, in the server's order", helpers.task(function()
    local s, c = fixture.pair({ alpn = { "h2", "http/1.1" } }, { alpn = { "http/1.1", "h2" } })
    assert.equal("h2", tls.info(s).alpn)
    assert.equal("h2", tls.info(c).alpn)
    close(s, c)
    s, c = fixture.pair({}, { alpn = { "h2" } })
    assert.is_nil(tls.info(c).alpn)
    close(s, c)
    local server_error
    s, c, server_error = fixture.pair({ alpn = { "h3" } }, { alpn = { "h2" } })
    assert.is_nil(s or c)
    assert.matches("application protocol", tostring(server_error))
  end))

  it("resumes sessions, also over another pair", helpers.task(function()
    local server, client = fixture.server_context(), fixture.client_context { alpn = { "resume" } }
    for round = 1, 3 do
      local a, b = stream.pair()
      local s, c = fixture.handshake(a, b, server, client, "localhost")
      exchange(s, c)
      assert.equal(round > 1, tls.info(s).resumed)
      assert.equal(round > 1, tls.info(c).resumed)
      assert.equal("localhost", tls.info(c).peer_cn)
      assert.equal("localhost", tls.info(s).server_name)
      close(s, c)
    end
    local a, b = stream.pair()
    local s, c = fixture.handshake(a, b, server, client, "another.name")
    assert.is_false(tls.info(c).resumed)
    close(s, c)
  end))

  it("resumes TLS 1.2 sessions", helpers.task(function()
    local server, client = fixture.server_context { max = "1.2" }, fixture.client_context()
    for round = 1, 2 do
      local a, b = stream.pair()
      local s, c = fixture.handshake(a, b, server, client, "localhost")
      exchange(s, c)
      assert.equal(round > 1, tls.info(s).resumed)
      close(s, c)
    end
  end))

  it("does full handshakes when told to", helpers.task(function()
    local server = fixture.server_context()
    local client = fixture.client_context { session_cache = false }
    for _ = 1, 2 do
      local a, b = stream.pair()
      local s, c = fixture.handshake(a, b, server, client, "localhost")
      exchange(s, c)
      assert.is_false(tls.info(s).resumed)
      close(s, c)
    end
  end))

  it("gives equal options the same context", function()
    local cert = fixture.self_signed()
    local one = tls.context { role = "server", certificates = { cert } }
    local two = tls.context { role = "server", certificates = { cert } }
    assert.is_truthy(one)
    assert.is_truthy(two)
  end)

  describe("verification", function()
    local good = fixture.authority "good"

    local function server_with(certificate)
      return { certificates = { certificate } }
    end

    it("checks chain and name", helpers.task(function()
      local certificate =
        fixture.certificate(good, "one.test", { san = "DNS:one.test,IP:10.1.2.3" })
      for _, case in ipairs {
        { "full", "one.test", good.cert },
        { "full", "one.test.", good.cert },
        { "full", "10.1.2.3", good.cert },
        { "full", "two.test", good.cert, "hostname mismatch" },
        { "full", "10.1.2.4", good.cert, "IP address mismatch" },
        { "full", nil, good.cert, "serverName" },
        { "chain", "two.test", good.cert },
        { "chain", nil, good.cert },
        { "chain", nil, fixture.authority("bad").cert, "unable to get local issuer" },
        { "full", "one.test", nil, "unable to get local issuer" },
        { "none", "two.test", nil },
      } do
        local verify, name, ca, problem = case[1], case[2], case[3], case[4]
        local s, c, _, err = fixture.pair(server_with(certificate),
          { verify = verify, ca = ca }, name)
        if problem then
          assert.is_nil(c)
          assert.equal("tls", err.code)
          assert.matches(problem, tostring(err), 1, true)
        else
          assert(c, tostring(err))
          exchange(s, c)
        end
        close(s, c)
      end
    end))

    it("refuses an expired certificate", helpers.task(function()
      local certificate = fixture.certificate(good, "old.test", { days = -1 })
      local s, c, server_error, err =
        fixture.pair(server_with(certificate), { verify = "full", ca = good.cert }, "old.test")
      assert.is_nil(c)
      assert.matches("expired", tostring(err))
      assert.matches("expired", tostring(server_error or select(2, s:read())))
      close(s)
    end))

    it("trusts a self-signed certificate that is its own CA", helpers.task(function()
      local own = fixture.self_signed()
      local s, c, _, err = fixture.pair({ certificates = { own } },
        { verify = "full", ca = own.cert }, "localhost")
      assert(c, tostring(err))
      close(s, c)
      s, c, _, err = fixture.pair({ certificates = { own } }, { verify = "full" }, "localhost")
      assert.is_nil(c)
      assert.matches("self%-signed certificate", tostring(err))
      close(s)
    end))

    it("asks clients for certificates", helpers.task(function()
      local server = server_with(fixture.certificate(good, "s.test"))
      server.verify, server.ca = "chain", good.cert
      local client = fixture.certificate(good, "client 7", { san = "DNS:c.test" })
      for version in ("1.2 1.3"):gmatch "%S+" do
        for _ = 1, 2 do -- the second time resumed
          local s, c, err = fixture.pair(server,
            { certificates = { client }, max = version }, "s.test")
          assert(s, tostring(err))
          exchange(s, c)
          assert.equal("client 7", tls.info(s).peer_cn)
          close(s, c)
        end

        local s, c, server_error = fixture.pair(server, { max = version }, "s.test")
        assert.is_nil(s)
        assert.matches("the client gave no certificate", tostring(server_error))
        if c then
          local _, err = c:read()
          assert.equal("tls", err.code)
          assert.matches("certificate required", tostring(err))
          close(c)
        end

        local stranger = fixture.certificate(fixture.authority "bad", "client 8")
        s, c, server_error = fixture.pair(server,
          { certificates = { stranger }, max = version }, "s.test")
        assert.is_nil(s)
        assert.matches("unable to get local issuer", tostring(server_error))
        close(c)
      end
    end))

    it("does not take the ticket of a server that asks for nothing", helpers.task(function()
      local certificate = fixture.certificate(good, "t.test")
      local client = fixture.client_context { alpn = { "ticket" } }
      local a, b = stream.pair()
      local lax = fixture.server_context(server_with(certificate))
      local s, c = fixture.handshake(a, b, lax, client, "t.test")
      exchange(s, c)
      close(s, c)
      a, b = stream.pair()
      local strict = fixture.server_context {
        certificates = { certificate }, verify = "chain", ca = good.cert,
      }
      s, c = fixture.handshake(a, b, strict, client, "t.test")
      assert.is_nil(s)
      close(c)
    end))
  end)

  describe("server names", function()
    local authority = fixture.authority "names"
    local certificates

    setup(function()
      certificates = {
        fixture.certificate(authority, "default.test"),
        fixture.certificate(authority, "a", { san = "DNS:a.test,DNS:*.wild.test" }),
        fixture.certificate(authority, "b", { san = "DNS:x.wild.test,DNS:B.test" }),
        fixture.certificate(authority, "only-cn.test", { san = "IP:10.0.0.1", kind = "RSA" }),
      }
    end)

    it("choose the certificate", helpers.task(function()
      for name, cn in pairs {
        ["a.test"] = "a",
        ["A.TEST"] = "a",
        ["b.test"] = "b",
        ["y.wild.test"] = "a",
        ["x.wild.test"] = "b",
        ["wild.test"] = "default.test",
        ["z.y.wild.test"] = "default.test",
        ["only-cn.test"] = "only-cn.test",
        ["other.test"] = "default.test",
        ["10.0.0.1"] = "default.test",
      } do
        local s, c = fixture.pair({ certificates = certificates }, {}, name)
        assert.equal(cn, tls.info(c).peer_cn)
        close(s, c)
      end
    end))

    it("that are unknown are refused when asked to", helpers.task(function()
      for _, case in ipairs {
        { nil, "a.test", true },
        { nil, nil, false },
        { nil, "10.0.0.1", false },
        { { "One.test" }, "one.TEST", true },
        { { "one.test" }, "two.test", false },
      } do
        local s, c, server_error, err =
          fixture.pair({ reject_unknown_sni = true, server_names = case[1] }, {}, case[2])
        assert.equal(case[3], s ~= nil)
        if not s then
          assert.matches("the client names", tostring(server_error))
          assert.matches("internal error", tostring(err))
        end
        close(s, c)
      end
    end))
  end)

  describe("data", function()
    it("is carried in both directions at once", helpers.task(function()
      local s, c = fixture.pair()
      local up, down = pattern(5000000, 1), pattern(3000001, 2)
      local sent_up = helpers.spawn(c.write, c, up)
      local sent_down = helpers.spawn(s.write, s, down)
      local got_down = helpers.spawn(c.read_exact, c, #down)
      assert.is_true(s:read_exact(#up) == up)
      assert.is_true(got_down() == down)
      assert.is_true(sent_up())
      assert.is_true(sent_down())
      local rx, tx = s:counts()
      assert.equal(#up, rx)
      assert.equal(#down, tx)
      close(s, c)
    end))

    it("is written from many parts of all sizes", helpers.task(function()
      local s, c = fixture.pair()
      local parts, all = {}, {}
      for i, size in ipairs { 1, 16384, 0, 16383, 2, 40000, 5, 100000, 7, 8, 16385 } do
        parts[i] = pattern(size, i)
        all[i] = parts[i]
      end
      local sent = helpers.spawn(c.write, c, unpack(parts))
      all = table.concat(all)
      assert.is_true(s:read_exact(#all) == all)
      assert.is_true(sent())
      close(s, c)
    end))

    it("is read in pieces of any size", helpers.task(function()
      local s, c = fixture.pair()
      local all, got = pattern(50000, 3), {}
      local sent = helpers.spawn(c.write, c, all)
      local n = 0
      while n < #all do
        got[#got + 1] = assert(s:read(1 + #got % 97))
        n = n + #got[#got]
      end
      assert.is_true(table.concat(got) == all)
      assert.is_true(sent())
      close(s, c)
    end))

    it("survives a layer that gives one byte at a time", helpers.task(function()
      -- server <-TLS-> a = b <-one byte at a time-> c = d <-TLS-> client
      local a, b = stream.pair()
      local c, d = stream.pair()
      local function trickle(from, to)
        while true do
          local bytes = from:read()
          if not bytes then
            return to:shutdown()
          end
          for byte in bytes:gmatch "." do
            to:write(byte)
          end
        end
      end
      local there, back = helpers.spawn(trickle, b, c), helpers.spawn(trickle, c, b)
      local server, client = fixture.handshake(a, d,
        fixture.server_context(), fixture.client_context(), "x.test")
      exchange(server, client)
      assert.is_true(client:shutdown())
      local _, err = server:read()
      assert.equal("eof", err.code)
      close(server, client)
      there()
      back()
      close(b, c)
    end))

    it("starts from what was read ahead below", helpers.task(function()
      local a, b = stream.pair()
      local context = fixture.client_context()
      local client = helpers.spawn(tls.client, b, context, "localhost", task.now() + 20000)
      assert.equal("\22", a:peek(1):sub(1, 1))
      local s = assert(tls.server(a, fixture.server_context(), task.now() + 20000))
      local c = client()
      exchange(s, c)
      close(s, c)
    end))

    it("travels over TLS in TLS", helpers.task(function()
      local s, c = fixture.pair()
      local s2, c2 = fixture.handshake(s, c,
        fixture.server_context(), fixture.client_context(), "inner.test")
      assert.equal("inner.test", tls.info(s2).server_name)
      local all = pattern(300000, 4)
      local sent = helpers.spawn(c2.write, c2, all)
      assert.is_true(s2:read_exact(#all) == all)
      assert.is_true(sent())
      close(s2, c2)
    end))

    it("goes over sockets, both ways at once", helpers.task(function()
      local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
      local address = listener.address(fds[1])
      local accepted = task.waiter()
      local l = assert(listener.accept(fds[1], function(s)
        accepted:wake(s)
      end))
      local raw = assert(stream.dial(address, nil, task.now() + 20000))
      local s, c = fixture.handshake(accepted:wait(), raw,
        fixture.server_context(), fixture.client_context())
      local up, down = pattern(4000000, 5), pattern(2000000, 6)
      local sent_up, sent_down = helpers.spawn(c.write, c, up), helpers.spawn(s.write, s, down)
      local got_down = helpers.spawn(c.read_exact, c, #down)
      assert.is_true(s:read_exact(#up / 2) == up:sub(1, #up / 2))
      assert.is_true(s:read_exact(#up / 2) == up:sub(#up / 2 + 1))
      assert.is_true(got_down() == down)
      assert.is_true(sent_up())
      assert.is_true(sent_down())
      assert.equal(address, c:remote_address())
      close(s, c)
      l:close()
    end))
  end)

  describe("the end", function()
    it("of one direction leaves the other alive", helpers.task(function()
      for version in ("1.2 1.3"):gmatch "%S+" do
        local s, c = fixture.pair({ max = version })
        assert.is_true(c:write "last words")
        assert.is_true(c:shutdown())
        assert.equal("last words", s:read())
        local _, err = s:read()
        assert.equal("eof", err.code)
        assert.is_false(tls.info(s).truncated)
        local answer = pattern(200000, 7)
        local sent = helpers.spawn(s.write, s, answer)
        assert.is_true(c:read_exact(#answer) == answer)
        assert.is_true(sent())
        assert.is_true(s:shutdown())
        _, err = c:read()
        assert.equal("eof", err.code)
        close(s, c)
      end
    end))

    it("comes with close()", helpers.task(function()
      local s, c = fixture.pair()
      s:write "bye"
      s:close()
      assert.equal("bye", c:read())
      local _, err = c:read()
      assert.equal("eof", err.code)
      assert.is_false(tls.info(c).truncated)
      close(c)
    end))

    -- A server whose raw side is in our hands after the handshake: `cut` gets it.
    local function with_raw(cut)
      local a, b = stream.pair()
      local x, y = stream.pair()
      local function forward(from, to, to_the_end)
        while true do
          local bytes = from:read()
          if not bytes then
            return to_the_end and to:shutdown()
          end
          to:write(bytes)
        end
      end
      local there, back = helpers.spawn(forward, b, x, true), helpers.spawn(forward, x, b, false)
      local s, c = fixture.handshake(a, y,
        fixture.server_context(), fixture.client_context(), "raw.test")
      exchange(s, c)
      cut(s, c, x, b)
      close(s, c, b, x)
      there()
      back()
    end

    it("without close_notify is taken for one and remembered", helpers.task(function()
      with_raw(function(s, c, _, b)
        b:shutdown() -- towards the server, as a bare FIN
        local _, err = s:read()
        assert.equal("eof", err.code)
        assert.is_true(tls.info(s).truncated)
        assert.is_true(s:write "still here")
        assert.equal("still here", c:read())
      end)
    end))

    it("in garbage is an error, not data", helpers.task(function()
      with_raw(function(s, _, _, b)
        b:write(("\23\3\3\0\32" .. ("x"):rep(32)))
        local bytes, err = s:read()
        assert.is_nil(bytes)
        assert.equal("tls", err.code)
        local ok, again = s:write "x"
        assert.is_nil(ok)
        assert.equal("tls", again.code)
      end)
    end))
  end)

  describe("a bad peer", function()
    local function serve(bytes, shut)
      local a, b = stream.pair()
      b:write(bytes)
      if shut then
        b:shutdown()
      end
      local s, err = tls.server(a, fixture.server_context(), task.now() + 200)
      assert.is_nil(s)
      close(b)
      return err
    end

    it("speaks something else", helpers.task(function()
      assert.matches("plain HTTP", tostring(serve "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
      assert.matches("plain HTTP", tostring(serve "CONNECT a:443 HTTP/1.1\r\n\r\n"))
      assert.matches("does not speak TLS", tostring(serve "SSH-2.0-OpenSSH_9.2\r\n"))
      assert.matches("does not speak TLS", tostring(serve(("\255"):rep(1000))))
      for length = 1, 40 do
        local err = serve(("\22\3\1\0\100\1\0\0\96\3\3" .. ("\0"):rep(100)):sub(1, length), true)
        assert.is_truthy(err.code == "eof" or err.code == "tls")
      end
    end))

    it("leaves in the middle", helpers.task(function()
      local err = serve("\22\3\1", true)
      assert.equal("eof", err.code)
      assert.matches("in the handshake", tostring(err))
    end))

    it("says nothing", helpers.task(function()
      local err = serve ""
      assert.equal("timeout", err.code)
    end))

    it("answers a client with something else", helpers.task(function()
      local a, b = stream.pair()
      local client = helpers.spawn(tls.client, b, fixture.client_context(), "x.test",
        task.now() + 20000)
      a:read()
      a:write "HTTP/1.1 400 Bad Request\r\n\r\n"
      local c, err = client()
      assert.is_nil(c)
      assert.matches("does not speak TLS", tostring(err))
      close(a)
    end))

    it("is refused a closed stream", helpers.task(function()
      local a, b = stream.pair()
      a:close()
      local s, err = tls.server(a, fixture.server_context())
      assert.is_nil(s)
      assert.equal("closed", err.code)
      close(b)
    end))
  end)

  describe("files", function()
    local function bad(options)
      options.role = options.role or "server"
      local context, err = tls.context(options)
      assert.is_nil(context)
      assert.equal("config", err.code)
      return err.message
    end

    it("that are no good are named", function()
      local one = fixture.certificate(fixture.authority "files", "one.test")
      local two = fixture.certificate(fixture.authority "files", "two.test")
      local junk = fixture.write("junk.pem", "nothing\n")
      local message = bad { certificates = { { cert = "/nowhere/cert.pem", key = one.key } } }
      assert.equal("cannot read the certificate file /nowhere/cert.pem: No such file or directory",
        message)
      message = bad { certificates = { { cert = one.cert, key = "/nowhere/key.pem" } } }
      assert.equal("cannot read the key file /nowhere/key.pem: No such file or directory", message)
      message = bad { certificates = { { cert = junk, key = one.key } } }
      assert.matches("no certificate in " .. junk, message, 1, true)
      message = bad { certificates = { { cert = one.cert, key = junk } } }
      assert.matches("no private key in " .. junk, message, 1, true)
      message = bad { certificates = { { cert = one.cert, key = two.key } } }
      assert.equal(("the key in %s does not belong to the certificate in %s")
        :format(two.key, one.cert), message)
      local other = fixture.certificate(fixture.authority "files", "other.test", { kind = "RSA" })
      message = bad { certificates = { { cert = one.cert, key = other.key } } }
      assert.matches("does not belong", message)
      message = bad { role = "client", verify = "chain", ca = junk }
      assert.matches("no certificate in the CA file " .. junk, message, 1, true)
      os.execute(("openssl pkey -in %s -aes128 -passout pass:x -out %s.locked")
        :format(one.key, one.key))
      message = bad { certificates = { { cert = one.cert, key = one.key .. ".locked" } } }
      assert.matches("is encrypted", message)
    end)

    it("that change are loaded; broken ones are not", helpers.task(function()
      local authority = fixture.authority "files"
      local one = fixture.certificate(authority, "one.test")
      local two = fixture.certificate(authority, "two.test")
      local cert = fixture.write("live.pem", fixture.read(one.cert))
      local key = fixture.write("live.key", fixture.read(one.key))
      local context = fixture.server_context { certificates = { { cert = cert, key = key } } }
      local client = fixture.client_context { session_cache = false }
      local function presented()
        local a, b = stream.pair()
        local s, c = fixture.handshake(a, b, context, client)
        local cn = tls.info(c).peer_cn
        close(s, c)
        return cn
      end
      assert.equal("one.test", presented())
      assert.is_false(context:refresh())

      local a, b = stream.pair()
      local s, c = fixture.handshake(a, b, context, client)
      fixture.write("live.pem", fixture.read(two.cert))
      local ok, err = context:refresh()
      assert.is_nil(ok)
      assert.matches("does not belong", err.message)
      assert.is_false(context:refresh())
      assert.equal("one.test", presented())

      fixture.write("live.key", fixture.read(two.key))
      assert.is_true(context:refresh())
      assert.equal("two.test", presented())
      exchange(s, c)
      close(s, c)
    end))
  end)

  it("generates certificates as configured", function()
    local cert, key = tls.generate {
      common_name = "my.host", organization = "Mine, Inc", validity = 86400,
    }
    assert.matches("^%-%-%-%-%-BEGIN CERTIFICATE%-%-%-%-%-\n", cert)
    assert.matches("^%-%-%-%-%-BEGIN PRIVATE KEY%-%-%-%-%-\n", key)
    local path = fixture.write("generated.pem", cert)
    local pipe = io.popen("openssl x509 -noout -text -nameopt RFC2253 -in " .. path)
    local text = pipe:read "*a"
    pipe:close()
    for _, expected in ipairs {
      "Subject: CN=my.host,O=Mine\\, Inc",
      "NIST CURVE: P-256",
      "CA:TRUE",
      "Digital Signature, Certificate Sign",
      "TLS Web Client Authentication, TLS Web Server Authentication",
      "DNS:my.host",
      "ecdsa-with-SHA256",
    } do
      assert.matches(expected, text, 1, true)
    end
  end)
end)
