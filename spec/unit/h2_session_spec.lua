local h2 = require "tidegate.native.h2"
local helpers = require "spec.helpers"
local hang_up = require("spec.helpers.server").hang_up
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local CONNECT = { ":method", "CONNECT", ":authority", "example.com:443", "x-a", "1", "x-a", "2" }
local OK = { ":status", "200" }

local function with(options, role)
  local copy = { client = role == "client" }
  for key, value in pairs(options or {}) do
    copy[key] = value
  end
  return copy
end

-- Two sessions over one in-memory pair.
local function joined(options, server_options)
  local a, b = stream.pair()
  return h2.start(a, with(options, "client")), h2.start(b, with(server_options or options, "server"))
end

-- A stream and its other end, answered with 200.
local function tunnel(client, server)
  local a = assert(client:request(CONNECT))
  local b = assert(server:accept())
  assert(h2.headers(b))
  assert(h2.respond(b, OK))
  assert(h2.headers(a))
  return a, b
end

-- A server and the bare stream of its peer.
local function against_bytes(options)
  local a, b = stream.pair()
  return h2.start(a, with(options, "server")), b
end

local PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

local function frame(kind, flags, id, payload)
  payload = payload or ""
  return string.char(0, math.floor(#payload / 256), #payload % 256, kind, flags, 0, 0,
    math.floor(id / 256), id % 256) .. payload
end

-- A request whose fields are all in HPACK's static table: GET / http.
local function get(id, flags)
  return frame(1, flags or 5, id, "\130\132\134\65\1a")
end

describe("HTTP/2 session", function()
  it("carries a request, its answer and bytes both ways", function()
    local client, server = joined()
    local a = client:request(CONNECT)
    assert.is_true(a:write "early")
    local b = assert(server:accept())
    local headers = h2.headers(b)
    assert.equal("CONNECT", headers[":method"])
    assert.equal("example.com:443", headers[":authority"])
    assert.equal("1", headers["x-a"])
    assert.same({ ":method", "CONNECT", ":authority", "example.com:443", "x-a", "1", "x-a", "2" },
      { unpack(headers) })
    assert.is_true(h2.respond(b, { ":status", "200", "server", "x" }))
    assert.equal("early", b:read_exact(5))
    b:write("wor", "ld")
    assert.equal("x", h2.headers(a).server)
    assert.equal("world", a:read_exact(5))
    assert.equal("h2", a:layer())
    a:close()
    b:close()
    helpers.eventually(function()
      return client:count() == 0 and server:count() == 0
    end, "streams are left")
    client:close()
    server:close()
  end)

  it("half-closes either direction on its own, and carries trailers", function()
    local client, server = joined()
    local a, b = tunnel(client, server)
    a:write "question"
    a:shutdown()
    assert.equal("question", b:read_exact(8))
    local _, err = b:read()
    assert.equal("eof", err.code)
    b:write "answer"
    assert.is_true(h2.finish(b, { "grpc-status", "0" }))
    b:close()
    assert.equal("answer", a:read_exact(6))
    _, err = a:read()
    assert.equal("eof", err.code)
    assert.equal("0", h2.trailers(a)["grpc-status"])
    a:close()
    client:close()
    server:close()
  end)

  it("tells who waits for an answer that none will come", function()
    local client, server = joined()
    local a = client:request(CONNECT)
    local b = server:accept()
    h2.reset(b, 7)
    local headers, err = h2.headers(a)
    assert.is_nil(headers)
    assert.equal("busy", err.code)
    a:close()
    b:close()

    a = client:request(CONNECT)
    a:set_deadline(task.now() + 20)
    headers, err = h2.headers(a)
    assert.is_nil(headers)
    assert.equal("timeout", err.code)
    task.spawn(function()
      task.sleep(0.01)
      server:close()
    end)
    a:set_deadline(nil)
    headers, err = h2.headers(a)
    assert.is_nil(headers)
    assert.equal("reset", err.code)
    a:close()
    client:close()
  end)

  it("takes a request whose body ends before its header is out", function()
    local client, server = joined()
    local a = assert(client:request(CONNECT))
    assert.is_true(a:shutdown())
    local b = assert(server:accept())
    assert(h2.headers(b))
    assert(h2.respond(b, OK))
    assert.is_nil(b:read())
    b:write "and this"
    b:shutdown()
    assert(h2.headers(a))
    assert.equal("and this", a:read_exact(8))
    assert.is_nil(a:read())
    client:close()
    server:close()
  end)

  it("makes an error of an answer nobody waits for", function()
    local client, server = joined()
    local a = client:request(CONNECT)
    h2.expect_ok(a)
    a:write "at once"
    local b = server:accept()
    h2.respond(b, { ":status", "405" })
    b:write "page"
    local none, err = a:read()
    assert.is_nil(none)
    assert.equal("protocol", err.code)
    assert.matches("answers 405", tostring(err))
    assert.equal(1, client:refusals())

    a = client:request(CONNECT)
    h2.expect_ok(a)
    b = server:accept()
    h2.respond(b, OK)
    b:write "fine"
    assert.equal("fine", a:read_exact(4))
    assert.equal(1, client:refusals())
    client:close()
    server:close()
  end)

  it("gives an answer without a body", function()
    local client, server = joined()
    local a = client:request({ ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/" },
      true)
    local b = server:accept()
    local _, err = b:read()
    assert.equal("eof", err.code)
    h2.respond(b, { ":status", "404" }, true)
    b:close()
    assert.equal("404", h2.headers(a)[":status"])
    _, err = a:read()
    assert.equal("eof", err.code)
    a:close()
    client:close()
    server:close()
  end)

  it("moves much data on many streams at once and loses nothing", function()
    local client, server = joined()
    local size, count = 1000000, 8
    local block = ("0123456789abcdef"):rep(1000)
    local done = task.waiter()
    local finished = 0
    task.spawn(function()
      for _ = 1, count do
        local b = server:accept()
        h2.respond(b, OK)
        task.spawn(function()
          local got = 0
          while got < size do
            local part = b:read(60000)
            got = got + #part
            assert(b:write(part))
          end
          b:shutdown()
        end)
      end
    end)
    for _ = 1, count do
      task.spawn(function()
        local a = client:request(CONNECT)
        task.spawn(function()
          local sent = 0
          while sent < size do
            local part = block:sub(1, math.min(#block, size - sent))
            assert(a:write(part))
            sent = sent + #part
          end
        end)
        local parts, got = {}, 0
        repeat
          local part = a:read(50000)
          parts[#parts + 1] = part
          got = got + (part and #part or 0)
        until not part
        assert.equal(size, got)
        local all = table.concat(parts)
        assert.equal(block:rep(math.ceil(size / #block)):sub(1, size) == all, true)
        finished = finished + 1
        if finished == count then
          done:wake()
        end
      end)
    end
    done:wait(task.now() + 10000)
    assert.equal(count, finished)
    client:close()
    server:close()
  end)

  it("holds a sender back whose bytes nobody reads, and no other", function()
    local client, server = joined { window = 65536, max_window = 65536 }
    local a1, b1 = tunnel(client, server)
    local a2, b2 = tunnel(client, server)
    a1:set_deadline(task.now() + 500)
    local ok, err = a1:write(("x"):rep(1000000))
    assert.is_nil(ok)
    assert.equal("timeout", err.code)
    a2:write "still here"
    assert.equal("still here", b2:read_exact(10))
    b1:set_deadline(task.now() + 20000)
    assert.equal(65536, #b1:read_exact(65536))
    b1:set_deadline(task.now() + 30)
    assert.is_nil((b1:read()))
    client:close()
    server:close()
  end)

  it("grants more to a stream whose reader keeps up", function()
    local client, server = joined({ window = 16384, max_window = 1048576 })
    local a, b = tunnel(client, server)
    task.spawn(function()
      a:write(("x"):rep(600000))
    end)
    assert.equal(600000, #b:read_exact(600000))
    a:set_deadline(task.now() + 500)
    a:write(("y"):rep(300000)) -- more than the first window, unread
    b:set_deadline(task.now() + 20000)
    assert.equal(200001, #b:read_exact(200001))
    client:close()
    server:close()
  end)

  it("lets no more be under way on a short path than others can wait for", function()
    local client, server = joined()
    for _ = 1, 20 do -- one of them is answered at once
      tunnel(client, server)
    end
    local a, b = tunnel(client, server)
    local sent, block, before = 0, ("x"):rep(16384), nil
    task.spawn(function()
      while b:write(block) do
        sent = sent + #block
      end
    end)
    for _ = 1, 16 do
      assert(a:read_exact(1000000))
    end
    repeat
      before = sent
      task.sleep(0.05)
    until sent == before
    assert.is_true(sent - 16000000 < 700000, ("%d bytes"):format(sent - 16000000))
    client:close()
    server:close()
  end)

  it("refuses more streams than were agreed on", function()
    local client, server = joined({}, { max_streams = 2 })
    local first = client:request(CONNECT)
    server:accept()
    helpers.eventually(function()
      return client:room() == 1
    end, "the limit is not known")
    assert(client:request(CONNECT))
    local none, err = client:request(CONNECT)
    assert.is_nil(none)
    assert.equal("limit", err.code)
    first:close()
    assert(client:request(CONNECT))
    client:close()
    server:close()
  end)

  it("ends in order: what runs goes on, nothing new begins", function()
    local client, server = joined()
    local a, b = tunnel(client, server)
    server:drain()
    helpers.eventually(function()
      return not client:is_alive()
    end, "the end is not heard")
    local none, err = client:request(CONNECT)
    assert.is_nil(none)
    assert.equal("closed", err.code)
    a:write "last"
    assert.equal("last", b:read_exact(4))
    a:shutdown()
    b:shutdown()
    a:close()
    b:close()
    none, err = server:accept()
    assert.is_nil(none)
    assert.equal("eof", err.code)
    client:close()
    server:close()
  end)

  it("closes itself when it was idle for long", function()
    local client, server = joined({ idle = 0.05 }, {})
    local _, err = server:accept(task.now() + 20000)
    assert.equal("eof", err.code)
    assert.is_false(client:is_alive())
    client:close()
    server:close()
  end)

  it("gives a silent peer up", function()
    local a, b = stream.pair()
    local client = h2.start(a, { client = true, keepalive = 0.02, timeout = 0.03, ping_idle = true })
    local _, err = client:accept(task.now() + 20000)
    assert.equal("timeout", err.code)
    client:close()
    b:close()
  end)

  it("lets streams outlive their session", function()
    local client, server = joined()
    local a, b = tunnel(client, server)
    a:write "kept"
    task.sleep(0.01)
    client:close()
    assert.equal("kept", b:read_exact(4))
    local _, err = b:read()
    assert.equal("reset", err.code)
    _, err = a:read()
    assert.equal("reset", err.code)
    server:close()
    a:close()
    b:close()
  end)

  it("takes a client's cancellation for the end of its input", function()
    local client, server = joined()
    local a, b = tunnel(client, server)
    a:write "all"
    task.sleep(0.01)
    a:close()
    assert.equal("all", b:read_exact(3))
    local _, err = b:read()
    assert.equal("eof", err.code)
    _, err = b:write "too late"
    assert.equal("reset", err.code)
    client:close()
    server:close()
  end)

  it("says that the other side speaks something else", function()
    local server, peer = against_bytes()
    peer:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    local _, err = server:accept()
    assert.equal("protocol", err.code)
    assert.matches("does not speak HTTP/2", tostring(err))
    server:close()
    peer:close()

    local a, b = stream.pair()
    local client = h2.start(a, { client = true })
    b:write "HTTP/1.1 400 Bad Request\r\n\r\n"
    _, err = client:accept()
    assert.equal("protocol", err.code)
    assert.matches("does not speak HTTP/2", tostring(err))
    client:close()
    b:close()
  end)

  describe("against a hostile peer", function()
    -- Write in pieces and drop what comes back.  @return the session's end
    local function attack(server, peer, bytes)
      task.spawn(function()
        while peer:read() do end -- luacheck: ignore
      end)
      task.spawn(function()
        peer:write(bytes)
      end)
      local one, err
      repeat
        one, err = server:accept(task.now() + 20000)
        if one then
          one:close()
        end
      until not one
      return err
    end

    it("cuts who takes requests back as fast as it makes them", function()
      local server, peer = against_bytes()
      local parts = { PREFACE }
      for id = 1, 9999, 2 do
        parts[#parts + 1] = get(id)
        parts[#parts + 1] = frame(3, 0, id, "\0\0\0\8")
      end
      local err = attack(server, peer, table.concat(parts))
      assert.equal("limit", err.code)
      assert.equal(0, server:count())
      server:close()
      peer:close()
    end)

    for name, bytes in pairs {
      ping = frame(6, 0, 0, "12345678"):rep(10000),
      settings = frame(4, 0, 0, ""):rep(10000),
      priority = frame(2, 0, 1, "\0\0\0\0\1"):rep(10000),
      empty = get(1, 4) .. frame(0, 0, 1):rep(10000),
    } do
      it("cuts floods of frames that move nothing: " .. name, function()
        local server, peer = against_bytes()
        local err = attack(server, peer, PREFACE .. bytes)
        assert.is_true(err.code == "limit" or err.code == "protocol")
        server:close()
        peer:close()
      end)
    end

    it("cuts endless headers", function()
      local server, peer = against_bytes()
      local field = "\0\5x-abc\100" .. ("v"):rep(100)
      local parts = { PREFACE, frame(1, 0, 1, "\130\132\134\65\1a") }
      for _ = 1, 3000 do
        parts[#parts + 1] = frame(9, 0, 1, field:rep(20))
      end
      local err = attack(server, peer, table.concat(parts))
      assert.is_true(err.code == "limit" or err.code == "protocol")
      server:close()
      peer:close()
    end)

    it("refuses a header that is too long, and goes on", function()
      local server, peer = against_bytes { max_headers = 1000 }
      task.spawn(function()
        while peer:read() do end -- luacheck: ignore
      end)
      local long = "\130\132\134\65\1a" .. ("\0\5x-abc\100" .. ("v"):rep(100)):rep(20)
      peer:write(PREFACE, frame(1, 5, 1, long), get(3))
      local b = assert(server:accept(task.now() + 20000))
      assert.equal("GET", h2.headers(b)[":method"])
      assert.equal(1, server:count())
      server:close()
      peer:close()
    end)
  end)
end)

describe("an HTTP/2 session whose server resets the connection", function()
  -- What a request says whose server reads a byte, says `words` and leaves.
  local function check(words, test)
    return helpers.task(function()
      local where, stop = hang_up(words)
      local client = h2.start(assert(stream.dial(where)), { client = true })
      local s, err = client:request(CONNECT)
      local ok = s
      while ok do
        s:set_deadline(task.now() + 10000)
        ok, err = s:write "more"
        task.sleep(0.001)
      end
      test(err.code, tostring(err))
      client:close()
      stop()
    end)
  end

  it("without a word says that its transport may be another", check("", function(code, text)
    assert.equal("protocol", code)
    assert.matches("hung up without a word; its transport may be another", text)
  end))

  it("after its greeting blames no setting", check(frame(4, 0, 0), function(_, text)
    assert.not_matches("may be another", text)
  end))
end)
