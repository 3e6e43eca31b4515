-- Datagram endpoints as Lua sees them: sockets, framings, SOCKS5 datagrams, sessions, the relay.

local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local packet = require "tidegate.native.packet"
local shared = require "tidegate.native.shared"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

-- An endpoint that sends everything back; its address.
local function echo()
  local e = assert(packet.udp { at = "127.0.0.1:0" })
  helpers.spawn(function()
    while true do
      local bytes, from = e:recv()
      if not bytes then
        return
      end
      e:send(bytes, from)
    end
  end)
  return e, e:local_address()
end

-- A bound socket for sessions.
local function bound()
  local fds = assert(listener.open("127.0.0.1:0", "datagram", 1))
  return fds[1], listener.address(fds[1])
end

describe("packet.udp", function()
  it("talks to one peer and to any", helpers.task(function()
    local e, at = echo()
    local one = assert(packet.udp { connect = at })
    local any = assert(packet.udp {})
    one:send "hello"
    assert.equal("hello", (one:recv()))
    any:send("there", at)
    local bytes, from = any:recv()
    assert.equal("there", bytes)
    assert.equal(at, from)
    assert.equal(at, one:remote_address())
    one:close()
    any:close()
    e:close()
  end))

  it("sends empty and long datagrams, and cuts at its limit", helpers.task(function()
    local e, at = echo()
    local one = assert(packet.udp { connect = at })
    one:send ""
    assert.equal("", (one:recv()))
    local long = ("x"):rep(60000)
    one:send(long)
    assert.equal(long, (one:recv()))
    local short = assert(packet.udp { connect = at, limit = 10 })
    short:send(("y"):rep(20))
    assert.equal(("y"):rep(10), (short:recv()))
    one:close()
    short:close()
    e:close()
  end))

  it("survives a peer that is not there", helpers.task(function()
    local gone = assert(packet.udp { at = "127.0.0.1:0" })
    local at = gone:local_address()
    gone:close()
    local one = assert(packet.udp { connect = at })
    for _ = 1, 3 do
      assert.is_true(one:send "anybody?")
    end
    local back = assert(packet.udp { at = at })
    one:send "again"
    assert.equal("again", (back:recv()))
    one:close()
    back:close()
  end))

  it("refuses senseless arguments as errors", helpers.task(function()
    local any = assert(packet.udp {})
    assert.equal("invalid", select(2, any:send("x")).code)
    assert.equal("invalid", select(2, any:send("x", "no port")).code)
    assert.equal("invalid", select(2, any:send("x", "example.com:53")).code)
    assert.equal("limit", select(2, any:send(("x"):rep(70000), "127.0.0.1:9")).code)
    any:close()
    any:close()
    assert.equal("closed", select(2, any:send("x", "127.0.0.1:9")).code)
    assert.equal("closed", select(2, any:recv()).code)
  end))

  it("ends a wait at its deadline and at close", helpers.task(function()
    local any = assert(packet.udp {})
    any:set_deadline(task.now() + 20)
    assert.equal("timeout", select(2, any:recv()).code)
    any:set_deadline(nil)
    local result = helpers.spawn(any.recv, any)
    helpers.pass()
    any:close()
    assert.equal("closed", select(2, result()).code)
  end))
end)

describe("packet.over_stream", function()
  it("writes and reads UDP-TUN frames", helpers.task(function()
    local near, far = stream.pair()
    local p = assert(packet.over_stream(near, "udptun"))
    assert.is_true(near:is_closed())
    p:send("hello", "8.8.8.8:53")
    assert.equal("\0\5\255\1\8\8\8\8\0\53hello", far:read_exact(15))
    p:send("x", "[2001:db8::1]:1")
    assert.equal("\0\1\255\4\32\1\13\184" .. ("\0"):rep(11) .. "\1\0\1x", far:read_exact(23))
    p:send("yz", "example.com:443")
    assert.equal("\0\2\255\3\11example.com\1\187yz", far:read_exact(20))

    far:write "\0\2\0\3\11example.com\0\53ab\0\1\255\1\1\2\3\4\0\80c"
    local bytes, from = p:recv()
    assert.equal("ab", bytes)
    assert.equal("example.com:53", from)
    bytes, from = p:recv()
    assert.equal("c", bytes)
    assert.equal("1.2.3.4:80", from)
    far:close()
    assert.equal("eof", select(2, p:recv()).code)
    p:close()
  end))

  it("reads frames that come a byte at a time", helpers.task(function()
    local near, far = stream.pair()
    local p = assert(packet.over_stream(near, "udptun"))
    local result = helpers.spawn(function()
      local a, from = p:recv()
      local b = p:recv()
      return a, from, b
    end)
    for byte in ("\0\3\255\1\9\9\9\9\0\9abc\0\1\255\3\1h\0\1d"):gmatch "." do
      far:write(byte)
      helpers.pass()
    end
    local a, from, b = result()
    assert.equal("abc", a)
    assert.equal("9.9.9.9:9", from)
    assert.equal("d", b)
    p:close()
    far:close()
  end))

  it("carries the longest datagram and empty u16 ones", helpers.task(function()
    local near, far = stream.pair()
    local a = assert(packet.over_stream(near, "u16", "192.0.2.1:7"))
    local b = assert(packet.over_stream(far, "u16", "192.0.2.1:7"))
    local long = ("0123456789abcdef"):rep(4095)
    local result = helpers.spawn(b.recv, b)
    a:send(long)
    local got, from = result()
    assert.equal(long, got)
    assert.equal("192.0.2.1:7", from)
    a:send ""
    assert.equal("", (b:recv()))
    a:close()
    b:close()
  end))

  it("skips frames without payload and never writes them in UDP-TUN", helpers.task(function()
    local near, far = stream.pair()
    local p = assert(packet.over_stream(near, "udptun"))
    p:send("", "1.1.1.1:1")
    p:send("x", "1.1.1.1:1")
    assert.equal("\0\1\255\1\1\1\1\1\0\1x", far:read_exact(11))
    far:write "\0\0\255\1\1\1\1\1\0\1\0\1\255\1\1\1\1\1\0\1y"
    assert.equal("y", (p:recv()))
    p:close()
    far:close()
  end))

  it("fails on frames that make no sense", helpers.task(function()
    for _, bad in ipairs { "\0\1\255\9\1\1\1\1\0\1x", "\0\1\255\3\2a\1\0\1x" } do
      local near, far = stream.pair()
      local p = assert(packet.over_stream(near, "udptun"))
      far:write(bad)
      assert.equal("protocol", select(2, p:recv()).code)
      p:close()
      far:close()
    end
  end))

  it("drops whole datagrams when the stream is full, never parts", helpers.task(function()
    local near, far = stream.pair()
    local a = assert(packet.over_stream(near, "u16"))
    local payload = ("p"):rep(1000)
    for i = 1, 2000 do
      a:send(("%04d"):format(i) .. payload)
    end
    local b = assert(packet.over_stream(far, "u16"))
    local count, last = 0, 0
    while true do
      b:set_deadline(task.now() + 500)
      local bytes = b:recv()
      if not bytes then
        break
      end
      count = count + 1
      assert.equal(1004, #bytes)
      assert.is_true(tonumber(bytes:sub(1, 4)) > last)
      last = tonumber(bytes:sub(1, 4))
    end
    assert.is_true(count >= 250 and count < 2000, "received " .. count)
    a:close()
    b:close()
  end))
end)

describe("packet.as_stream", function()
  it("makes a datagram of each write", helpers.task(function()
    local e, at = echo()
    local s = assert(packet.as_stream(assert(packet.udp { connect = at })))
    assert.is_true(s:write("one ", "datagram"))
    assert.equal("one datagram", s:read())
    s:write "next"
    assert.equal("next", s:read())
    assert.equal(at, s:remote_address())
    assert.equal("udp", s:layer())
    assert.equal("limit", select(2, s:write(("x"):rep(70000))).code)
    s:close()
    e:close()
  end))
end)

describe("SOCKS5 datagrams", function()
  local function association()
    local control, far = stream.pair()
    local server = assert(packet.socks5_server { at = "127.0.0.1:0", client = "127.0.0.1:1" })
    assert(packet.attach(server, control))
    return server, far
  end

  it("are unwrapped from the client and answered to where it last was", helpers.task(function()
    local server, control = association()
    local client = assert(packet.udp { connect = server:local_address() })
    client:send "\0\0\0\1\8\8\8\8\0\53query"
    local bytes, to = server:recv()
    assert.equal("query", bytes)
    assert.equal("8.8.8.8:53", to)
    server:send("answer", "8.8.8.8:53")
    assert.equal("\0\0\0\1\8\8\8\8\0\53answer", (client:recv()))
    local moved = assert(packet.udp { connect = server:local_address() })
    moved:send "\0\0\7\3\4host\0\80x"
    bytes, to = server:recv()
    assert.equal("x", bytes)
    assert.equal("host:80", to)
    server:send("y", "[::1]:9")
    assert.equal("\0\0\0\4" .. ("\0"):rep(15) .. "\1\0\9y", (moved:recv()))
    for _, it in ipairs { client, moved, server, control } do
      it:close()
    end
  end))

  it("of strangers and without sense are dropped", helpers.task(function()
    local server, control = association()
    local elsewhere = assert(stream.options { bind = "127.0.0.2" })
    local stranger = assert(packet.udp { connect = server:local_address(), options = elsewhere })
    local client = assert(packet.udp { connect = server:local_address() })
    stranger:send "\0\0\0\1\8\8\8\8\0\53stranger"
    for _, bad in ipairs { "", "\0", "\0\0\0", "\0\0\0\1\1\1", "\0\0\0\5\1\1\1\1\0\1", "\0\0\0\3\255abc" } do
      client:send(bad)
    end
    client:send "\0\0\0\1\8\8\8\8\0\53mine"
    assert.equal("mine", (server:recv()))
    for _, it in ipairs { client, stranger, server, control } do
      it:close()
    end
  end))

  it("end with the control connection", helpers.task(function()
    local server, control = association()
    local result = helpers.spawn(server.recv, server)
    control:write "whatever the client says"
    helpers.pass()
    control:close()
    assert.equal("eof", select(2, result()).code)
    server:close()
  end))

  it("go both ways between a client and a server", helpers.task(function()
    local server, control = association()
    local client = assert(packet.socks5_client { to = server:local_address(), fixed = "example.com:53" })
    client:send "one"
    local bytes, to = server:recv()
    assert.equal("one", bytes)
    assert.equal("example.com:53", to)
    server:send("two", "1.2.3.4:53")
    assert.equal("two", (client:recv()))
    for _, it in ipairs { client, server, control } do
      it:close()
    end
  end))

  it("keep to a range of ports", helpers.task(function()
    local first = assert(packet.socks5_server { at = "127.0.0.1:0" })
    local port = tonumber(first:local_address():match ":(%d+)$")
    local none, err = packet.socks5_server { at = "127.0.0.1:0", min_port = port, max_port = port }
    assert.is_nil(none)
    assert.equal("inuse", err.code)
    first:close()
    local again = assert(packet.socks5_server { at = "127.0.0.1:0", min_port = port, max_port = port })
    assert.equal("127.0.0.1:" .. port, again:local_address())
    again:close()
  end))
end)

describe("packet.listen", function()
  -- Sessions that are remembered, and their sockets.
  local function serve(options)
    local fd, at = bound()
    local seen = {}
    local table_ = assert(packet.listen(fd, options, function(session)
      seen[#seen + 1] = session
    end))
    return { seen = seen, table = table_, at = at, close = function()
      table_:close()
      for _, session in ipairs(seen) do
        session:close()
      end
      listener.close_fd(fd)
    end }
  end

  local function client(s)
    return assert(packet.udp { connect = s.at })
  end

  it("makes a session of each client address", helpers.task(function()
    local s = serve { ttl = 5000, keepalive = true }
    local a, b = client(s), client(s)
    a:send "a1"
    a:send "a2"
    b:send "b1"
    helpers.eventually(function() return #s.seen == 2 end)
    local first, second = s.seen[1], s.seen[2]
    if first:remote_address() ~= a:local_address() then
      first, second = second, first
    end
    assert.equal(a:local_address(), first:remote_address())
    assert.equal("a1", (first:recv()))
    assert.equal("a2", (first:recv()))
    assert.equal("b1", (second:recv()))
    second:send "to b"
    first:send "to a"
    assert.equal("to a", (a:recv()))
    assert.equal("to b", (b:recv()))
    assert.equal(2, s.table:count())
    a:close()
    b:close()
    s.close()
  end))

  it("ends a silent session between one and two ttl", helpers.task(function()
    local s = serve { ttl = 200, keepalive = true }
    local a = client(s)
    local begin = task.now()
    a:send "x"
    helpers.eventually(function() return #s.seen == 1 end)
    assert.equal("x", (s.seen[1]:recv()))
    assert.equal("eof", select(2, s.seen[1]:recv()).code)
    assert.is_true(task.now() - begin >= 190)
    assert.equal(0, s.table:count())
    assert.is_true(s.seen[1]:send "too late")
    a:send "again"
    helpers.eventually(function() return #s.seen == 2 end)
    a:close()
    s.close()
  end))

  it("ends soon after the first answer, without keepalive", helpers.task(function()
    local s = serve { ttl = 60000 }
    local a = client(s)
    a:send "x"
    helpers.eventually(function() return #s.seen == 1 end)
    assert.equal("x", (s.seen[1]:recv()))
    s.seen[1]:send "answer"
    assert.equal("answer", (a:recv()))
    a:send "goes on"
    assert.equal("goes on", (s.seen[1]:recv()))
    s.seen[1]:send "answer"
    assert.equal("eof", select(2, s.seen[1]:recv()).code)
    assert.equal(1, #s.seen)
    a:close()
    s.close()
  end))

  it("decides anew after an answer where that matters", helpers.task(function()
    local s = serve { ttl = 60000, fresh = true }
    local a = client(s)
    for i = 1, 3 do
      a:send("q" .. i)
      helpers.eventually(function() return #s.seen == i end)
      assert.equal("q" .. i, (s.seen[i]:recv()))
      s.seen[i]:send("r" .. i)
      assert.equal("r" .. i, (a:recv()))
    end
    assert.equal("eof", select(2, s.seen[1]:recv()).code)
    a:close()
    s.close()
  end))

  it("makes a session of each datagram when stateless", helpers.task(function()
    local s = serve { ttl = 5000, stateless = true }
    local a = client(s)
    a:send "1"
    a:send "2"
    helpers.eventually(function() return #s.seen == 2 end)
    for i = 1, 2 do
      assert.equal(tostring(i), (s.seen[i]:recv()))
      s.seen[i]:send("r" .. i)
      assert.equal("r" .. i, (a:recv()))
    end
    a:close()
    s.close()
  end))

  it("keeps as many datagrams as it was told, and drops the rest", helpers.task(function()
    local s = serve { ttl = 5000, keepalive = true, queue = 3, limit = 4 }
    local a = client(s)
    for i = 1, 6 do
      a:send(i .. "2345")
    end
    helpers.eventually(function() return #s.seen == 1 end)
    for i = 1, 3 do
      assert.equal(i .. "234", (s.seen[1]:recv()))
    end
    local result = helpers.spawn(s.seen[1].recv, s.seen[1])
    a:send "last"
    assert.equal("last", (result()))
    a:close()
    s.close()
  end))

  it("ends all sessions when it is closed", helpers.task(function()
    local s = serve { ttl = 5000, keepalive = true }
    local a = client(s)
    a:send "x"
    helpers.eventually(function() return #s.seen == 1 end)
    assert.equal("x", (s.seen[1]:recv()))
    local result = helpers.spawn(s.seen[1].recv, s.seen[1])
    s.table:close()
    assert.equal("eof", select(2, result()).code)
    assert.is_true(s.seen[1]:send "nobody hears")
    a:close()
    s.close()
  end))
end)

describe("packet.split", function()
  -- An endpoint of frames that is taken apart.  @return the far end, sessions, arrived sessions, what ended it
  local function splitting(options)
    local near, far = stream.pair()
    local arrived, over, waiting = {}, {}, task.waiter()
    local sessions = assert(packet.split(assert(packet.over_stream(near, "udptun")), options, function(session)
      arrived[#arrived + 1] = session
      waiting:wake(true)
    end, function(err)
      over.err = err
      waiting:wake(true)
    end))
    return assert(packet.over_stream(far, "udptun")), sessions, arrived, over, waiting
  end

  it("makes a session of each address, and answers to it", helpers.task(function()
    local far, sessions, arrived, over, waiting = splitting { keepalive = true }
    far:send("one", "192.0.2.1:1000")
    far:send("two", "192.0.2.2:1000")
    far:send("three", "[2001:db8::1]:1000")
    far:send("four", "192.0.2.1:1000")
    while #arrived < 3 do
      waiting:wait(task.now() + 10000)
    end
    assert.equal(3, sessions:count())
    assert.equal("192.0.2.1:1000", arrived[1]:remote_address())
    assert.equal("one", (arrived[1]:recv()))
    assert.equal("four", (arrived[1]:recv()))
    assert.equal("three", (arrived[3]:recv()))
    arrived[3]:send "back"
    local bytes, from = far:recv()
    assert.equal("back", bytes)
    assert.equal("[2001:db8::1]:1000", from)
    far:close()
    while not over.err do
      waiting:wait(task.now() + 10000)
    end
    assert.equal("eof", over.err.code)
    sessions:close()
    local _, err = arrived[1]:recv()
    assert.equal("eof", err.code)
    for _, session in ipairs(arrived) do
      session:close()
    end
  end))

  it("takes no names, no more sessions than it may, and no more of a datagram", helpers.task(function()
    local far, sessions, arrived, _, waiting = splitting { keepalive = true, most = 2, limit = 4 }
    far:send("name", "example.com:53")
    for i = 1, 5 do
      far:send("longer", "192.0.2.1:" .. i)
    end
    far:send("last", "192.0.2.1:1")
    while #arrived < 2 do
      waiting:wait(task.now() + 10000)
    end
    assert.equal("long", (arrived[1]:recv()))
    assert.equal("last", (arrived[1]:recv()))
    assert.equal(2, sessions:count())
    for _, session in ipairs(arrived) do
      session:close()
    end
    assert.equal(0, sessions:count())
    sessions:close()
    far:close()
  end))

  it("ends with frames that make no sense, and may be closed then", helpers.task(function()
    local near, far = stream.pair()
    local over = task.waiter()
    local sessions
    sessions = assert(packet.split(assert(packet.over_stream(near, "udptun")), {}, function(session)
      session:close()
    end, function(err)
      sessions:close()
      over:wake(err)
    end))
    far:write "\0\4\255\9\1\2\3\4\0\1oops"
    assert.equal("protocol", over:wait(task.now() + 10000).code)
    assert.equal(0, sessions:count())
    far:close()
  end))

  it("may be closed by who is introduced", helpers.task(function()
    local near, far = stream.pair()
    local done = task.waiter()
    local sessions
    sessions = assert(packet.split(assert(packet.over_stream(near, "udptun")), {}, function(session)
      sessions:close()
      done:wake(select(2, session:recv()) or "a datagram")
      session:close()
    end, function() end))
    local frames = assert(packet.over_stream(far, "udptun"))
    frames:send("one", "192.0.2.1:1000")
    frames:send("two", "192.0.2.2:1000")
    assert.equal("a datagram", done:wait(task.now() + 10000))
    frames:close()
  end))

  it("refuses endpoints with one peer, and closed ones", helpers.task(function()
    local e = assert(packet.udp { connect = "127.0.0.1:9" })
    assert.error_matches(function()
      packet.split(e, {}, print, print)
    end, "one peer")
    e:close()
    local any = assert(packet.udp {})
    any:close()
    local sessions, err = packet.split(any, {}, print, print)
    assert.is_nil(sessions)
    assert.equal("closed", err.code)
  end))
end)

describe("packet.relay", function()
  it("joins a session and a socket, counts, and ends with the session", helpers.task(function()
    local e, at = echo()
    local fd, listening = bound()
    local up, down = shared.counter "spec-udp-up", shared.counter "spec-udp-down"
    local done
    local sessions = assert(packet.listen(fd, { ttl = 60, keepalive = true }, function(session)
      local upstream = assert(packet.udp { connect = at })
      done = packet.relay_wait(session, upstream, { up = up, down = down })
    end))
    local c = assert(packet.udp { connect = listening })
    for i = 1, 100 do
      c:send(("%03d"):format(i))
    end
    for i = 1, 100 do
      assert.equal(("%03d"):format(i), (c:recv()))
    end
    assert.equal(300, up:get())
    assert.equal(300, down:get())
    helpers.eventually(function() return done end)
    assert.equal(300, done.up)
    assert.equal(300, done.down)
    assert.is_nil(done.err)
    sessions:close()
    listener.close_fd(fd)
    c:close()
    e:close()
  end))

  it("ends when idle, and after so many replies", helpers.task(function()
    local e, at = echo()
    for _, options in ipairs { { idle = 30 }, { replies = 1 } } do
      local near, far = stream.pair()
      local client = assert(packet.over_stream(far, "u16"))
      local result = helpers.spawn(packet.relay_wait, assert(packet.over_stream(near, "u16")),
        assert(packet.udp { connect = at }), options)
      client:send "x"
      assert.equal("x", (client:recv()))
      assert.is_nil(result().err)
      assert.equal("eof", select(2, client:recv()).code)
      client:close()
    end
    e:close()
  end))

  it("asks about names once, and lets datagrams wait for the answer", helpers.task(function()
    local e, at = echo()
    local near, far = stream.pair()
    local client = assert(packet.over_stream(far, "udptun"))
    local asked = {}
    assert(packet.relay(assert(packet.over_stream(near, "udptun")), assert(packet.udp {}), {
      ask = function(address, asker)
        asked[#asked + 1] = address
        task.sleep(0.01)
        asker:answer(address, address == "good.test:7" and at or nil)
      end,
    }))
    client:send("lost", "bad.test:7")
    for i = 1, 3 do
      client:send("n" .. i, "good.test:7")
    end
    for i = 1, 3 do
      local bytes, from = client:recv()
      assert.equal("n" .. i, bytes)
      assert.equal(at, from)
    end
    client:send("n4", "good.test:7")
    assert.equal("n4", (client:recv()))
    client:send("direct", at)
    assert.equal("direct", (client:recv()))
    assert.same({ "bad.test:7", "good.test:7" }, asked)
    client:close()
    helpers.eventually(function() return packet.count() == 0 end)
    e:close()
  end))

  it("forgets addresses rather than grow without bound", helpers.task(function()
    local near, far = stream.pair()
    local client = assert(packet.over_stream(far, "udptun"))
    local e, at = echo()
    local asked = 0
    assert(packet.relay(assert(packet.over_stream(near, "udptun")), assert(packet.udp {}), {
      ask = function(address, asker)
        asked = asked + 1
        asker:answer(address, address == "last.test:1" and at or false)
      end,
    }))
    for i = 1, 600 do
      client:send("x", ("host%d.test:1"):format(i))
      if i % 50 == 0 then
        helpers.pass()
      end
    end
    helpers.eventually(function() return asked == 600 end)
    client:send("y", "last.test:1")
    assert.equal("y", (client:recv()))
    client:close()
    helpers.eventually(function() return packet.count() == 0 end)
    e:close()
  end))

  it("shows what passes to who wants to look, to the end", helpers.task(function()
    local e, at = echo()
    local fd, where = bound()
    local seen, over = {}, task.waiter()
    local sessions = assert(packet.listen(fd, { keepalive = true, limit = 65535 }, function(session)
      assert.equal("one", session:peek())
      assert.equal("one", session:peek())
      local upstream = assert(packet.udp { connect = at })
      assert.is_nil(upstream:peek())
      packet.relay(session, upstream, { tap = function(bytes, up)
        seen[#seen + 1] = bytes and (up and ">" or "<") .. #bytes or "over"
        if not bytes then
          over:wake(true)
        end
      end })
    end))
    local c = assert(packet.udp { connect = where })
    for _, text in ipairs { "one", ("x"):rep(20000), "" } do
      c:send(text)
      assert.equal(#text, #c:recv())
    end
    sessions:close()
    over:wait(task.now() + 10000)
    assert.same({ ">3", "<3", ">0", "<0", "over" }, seen) -- long ones are nobody's concern
    c:close()
    e:close()
    listener.close_fd(fd)
  end))

  it("says which side failed", helpers.task(function()
    local near, far = stream.pair()
    local result = helpers.spawn(packet.relay_wait, assert(packet.over_stream(near, "udptun")), assert(packet.udp {}))
    far:write "\0\1\255\9garbage"
    local ended = result()
    assert.equal("protocol", ended.err.code)
    assert.equal("client", ended.side)
    far:close()
  end))

  it("refuses what is closed or the same", helpers.task(function()
    local a, b = assert(packet.udp {}), assert(packet.udp {})
    assert.has_error(function() packet.relay(a, a) end)
    b:close()
    assert.equal("closed", select(2, packet.relay(a, b)).code)
    a:close()
  end))

  it("says when nobody listens, if it was asked to", helpers.task(function()
    local nobody = assert(packet.udp { at = "127.0.0.1:0" })
    local address = nobody:local_address()
    nobody:close()
    local endpoint = assert(packet.udp { connect = address, strict = true })
    endpoint:set_deadline(task.now() + 20000)
    assert(endpoint:send "x")
    local _, err = endpoint:recv()
    assert.same("refused", err.code)
    endpoint:close()
  end))
end)
