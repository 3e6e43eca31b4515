local helpers = require "spec.helpers"
local hang_up = require("spec.helpers.server").hang_up
local session = require "tidegate.native.session"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

local ROUND_TRIPS = { 60, 240, 960 } -- ms; the slower the machine, the longer must be what it is to measure

-- Two sessions over one in-memory pair.
local function joined(options)
  local a, b = stream.pair()
  options = options or {}
  options.client = true
  local client = session.smux(a, options)
  options.client = false
  return client, session.smux(b, options)
end

-- A session and the bare stream of its peer.
local function against_bytes(options)
  local a, b = stream.pair()
  return session.smux(a, options or { client = true, keepalive = 0 }), b
end

-- Two sessions over a path on which all that is sent without hearing from the other end is under way at once.
-- @return client, server, the bytes that were under way each time
local function far_apart(options, round_trip)
  local a, near = stream.pair()
  local far, b = stream.pair()
  local rounds = {}
  task.spawn(function()
    local err
    repeat
      local parts, bytes, part = {}, 0, nil
      repeat
        near:set_deadline(task.now() + round_trip)
        part, err = near:read()
        parts[#parts + 1] = part
        bytes = bytes + (part and #part or 0)
      until not part
      rounds[#rounds + 1] = bytes
    until not far:write(table.concat(parts)) or err.code ~= "timeout"
    far:close()
  end)
  task.spawn(function()
    local part = far:read()
    while part and near:write(part) do
      part = far:read()
    end
    near:close()
  end)
  options.client = true
  local client = session.smux(a, options)
  options.client = false
  return client, session.smux(b, options), rounds
end

-- Send `size` bytes and read them as they come.  @return the most that was under way
local function most_under_way(options, size, round_trip)
  local client, server, rounds = far_apart(options, round_trip)
  local s = client:open()
  for _ = 1, 100 do
    client:open() -- rest
  end
  task.spawn(function()
    assert(s:write(("x"):rep(size)))
  end)
  local t = assert(server:accept(task.now() + 10000))
  t:set_deadline(task.now() + 60000)
  local got = 0
  while got < size do
    got = got + #assert(t:read())
  end
  client:close()
  server:close()
  return math.max(unpack(rounds))
end

for name, options in pairs {
  ["smux version 2"] = function() return { version = 2, keepalive = 0 } end,
  yamux = function() return { yamux = true, keepalive = 0 } end,
} do
  describe("the windows of " .. name, function()
    it("grow to what the path holds, however many streams rest", function()
      local most
      for _, round_trip in ipairs(ROUND_TRIPS) do
        most = most_under_way(options(), 16777216, round_trip)
        if most > 1500000 then
          return
        end
      end
      error(("only %d bytes were under way"):format(most))
    end)

    it("stay within what the session may hold", function()
      local o = options()
      o.max_receive = 1048576
      assert.is_true(most_under_way(o, 4194304, ROUND_TRIPS[1]) < 262144 + 524288 + 10000)
    end)
  end)
end

for name, options in pairs {
  ["smux version 1"] = function() return { version = 1 } end,
  ["smux version 2"] = function() return { version = 2 } end,
  yamux = function() return { yamux = true } end,
} do
  describe(name, function()

    it("carries bytes both ways", function()
      local client, server = joined(options())
      local a = client:open()
      assert.is_true(a:write "hello")
      local b = assert(server:accept())
      assert.equal("hello", b:read_exact(5))
      b:write("wor", "ld")
      assert.equal("world", a:read_exact(5))
      assert.equal(name:match "%w+", a:layer())
      a:close()
      local data, err = b:read()
      assert.is_nil(data)
      assert.equal("eof", err.code)
      b:close()
      assert.equal(0, client:count())
      assert.equal(0, server:count())
      client:close()
      server:close()
    end)

    it("opens from both sides", function()
      local client, server = joined(options())
      local a = client:open()
      local b = server:open()
      a:write "a"
      b:write "b"
      assert.equal("b", client:accept():read_exact(1))
      assert.equal("a", server:accept():read_exact(1))
      client:close()
      server:close()
    end)

    it("moves much data on many streams at once and loses nothing", function()
      local client, server = joined(options())
      local size, count = 1000000, 8
      local block = ("0123456789abcdef"):rep(1000)
      local done = task.waiter()
      local left = count
      for i = 1, count do
        local s = client:open()
        task.spawn(function()
          s:write(string.char(i))
          local sent = 0
          while sent < size do
            local part = block:sub(1, math.min(#block, size - sent))
            assert(s:write(part))
            sent = sent + #part
          end
          s:shutdown()
        end)
      end
      for _ = 1, count do
        local s = assert(server:accept())
        task.spawn(function()
          assert(s:read_exact(1))
          local got = {}
          local total = 0
          repeat
            local part = s:read()
            got[#got + 1] = part
            total = total + (part and #part or 0)
          until not part
          assert(total == size)
          assert(table.concat(got) == block:rep(math.ceil(size / #block)):sub(1, size))
          left = left - 1
          if left == 0 then done:wake(true) end
        end)
      end
      assert.is_true(done:wait(task.now() + 20000))
      client:close()
      server:close()
    end)

    it("delivers what arrived before the peer was found to be gone", function()
      local client, server = joined(options())
      local a = client:open()
      a:write(("last words "):rep(10000))
      local b = server:accept()
      if name == "yamux" then
        client:close()
      else
        a:close()
      end
      local ok, err
      helpers.eventually(function()
        ok, err = b:write "too late"
        return not ok
      end, "the end is not heard")
      assert.same({ nil, "reset" }, { ok, err.code })
      assert.equal(110000, #b:read_exact(110000))
      b:close()
      client:close()
      server:close()
    end)

    it("delivers what arrived before the session ended", function()
      local client, server = joined(options())
      local a = client:open()
      a:write "last words"
      local b = server:accept()
      client:close()
      helpers.pass()
      assert.equal("last words", b:read())
      local _, err = b:read()
      assert.equal("reset", err.code)
      local _, dead = server:accept()
      assert.is_truthy(dead.code == "eof" or dead.code == "reset")
      assert.is_false(server:is_alive())
      server:close()
      local _, closed = server:accept()
      assert.equal("closed", closed.code)
    end)
  end)
end

describe("smux", function()
  it("writes the frames of the specification", function()
    local client, peer = against_bytes()
    local s = client:open()
    s:write "hello"
    assert.equal("\1\0\0\0\3\0\0\0" .. "\1\2\5\0\3\0\0\0hello", peer:read_exact(21))
    s:close()
    assert.equal("\1\1\0\0\3\0\0\0", peer:read_exact(8))
    client:close()
  end)

  it("takes frames one byte at a time", function()
    local server, peer = against_bytes { client = false, keepalive = 0 }
    for byte in ("\1\0\0\0\3\0\0\0\1\3\0\0\0\0\0\0\1\2\5\0\3\0\0\0hello\1\1\0\0\3\0\0\0"):gmatch "." do
      peer:write(byte)
      task.sleep(0)
    end
    local s = assert(server:accept())
    assert.equal("hello", s:read_exact(5))
    assert.equal("eof", select(2, s:read()).code)
    server:close()
  end)

  it("ends at frames that break the rules", function()
    local bad = {
      version = "\2\0\0\0\3\0\0\0",
      command = "\1\4\8\0\3\0\0\0\0\0\0\0\0\0\0\0",
      length = "\1\0\1\0\3\0\0\0x",
    }
    for what, bytes in pairs(bad) do
      local server, peer = against_bytes { client = false, keepalive = 0 }
      peer:write(bytes)
      local s, err = server:accept()
      assert.is_nil(s, what)
      assert.equal("protocol", err.code, what)
      server:close()
    end
  end)

  it("ignores frames for streams it does not know", function()
    local server, peer = against_bytes { client = false, keepalive = 0 }
    peer:write("\1\2\3\0\9\0\0\0abc", "\1\1\0\0\9\0\0\0", "\1\0\0\0\3\0\0\0")
    assert(server:accept())
    server:close()
  end)

  it("refuses streams beyond the backlog", function()
    local server, peer = against_bytes { client = false, keepalive = 0 }
    for i = 1, 1030 do
      peer:write("\1\0\0\0" .. string.char(i % 256, math.floor(i / 256)) .. "\0\0")
    end
    helpers.eventually(function()
      return server:count() >= 1024
    end)
    assert.equal("\1\1\0\0", peer:read_exact(8):sub(1, 4))
    assert.equal(1024, server:count())
    server:close()
  end)

  it("stops reading when nobody takes what arrives", function()
    local a, b = stream.pair()
    local client = session.smux(a, { client = true, keepalive = 0 })
    local server = session.smux(b, { client = false, keepalive = 0, max_receive = 65536 })
    local s = client:open()
    s:set_deadline(task.now() + 500)
    local ok, err = s:write(("x"):rep(1000000))
    assert.is_nil(ok)
    assert.equal("timeout", err.code)
    local t = server:accept()
    assert.equal(65537, #t:read_exact(65537))
    client:close()
    server:close()
  end)

  it("version 2 keeps within the window of the peer", function()
    local client, peer = against_bytes { client = true, version = 2, keepalive = 0 }
    local s = client:open()
    task.spawn(function() s:write(("x"):rep(400000)) end)
    peer:set_deadline(task.now() + 10000)
    local head = peer:read_exact(8)
    assert.equal("\2\0\0\0\3\0\0\0", head)
    local got = 0
    while true do
      if got >= 262144 then peer:set_deadline(task.now() + 100) end
      head = peer:read_exact(8)
      if not head then break end
      local len = head:byte(3) + head:byte(4) * 256
      assert(peer:read_exact(len))
      got = got + len
    end
    assert.equal(262144, got)
    client:close()
  end)

  it("version 2 cuts a peer that does not keep within ours", function()
    local server, peer = against_bytes { client = false, version = 2, keepalive = 0 }
    task.spawn(function()
      while peer:read() do end -- luacheck: ignore
    end)
    peer:write "\2\0\0\0\3\0\0\0"
    local s = assert(server:accept())
    for _ = 1, 8 do
      peer:write("\2\2\0\128\3\0\0\0", ("x"):rep(32768))
    end
    peer:write("\2\2\1\0\3\0\0\0", "x")
    local _, err = server:accept(task.now() + 10000)
    assert.equal("protocol", err.code)
    assert.matches("window", err.message)
    assert.equal(262144, #s:read_exact(262144))
    server:close()
    peer:close()
  end)

  it("gives up on a peer that stays silent", function()
    local client = against_bytes { client = true, keepalive = 0.02, timeout = 0.06 }
    local _, err = client:accept()
    assert.equal("timeout", err.code)
    client:close()
  end)

  it("asks a peer again before it gives it up, when it did not run itself for long", function()
    local client, server = joined { keepalive = 0.1, timeout = 0.1 }
    helpers.pass()
    uv.sleep(300)
    local a = client:open()
    a:write "still here"
    assert.equal("still here", server:accept():read_exact(10))
    assert.is_true(client:is_alive())
    client:close()
    server:close()
  end)

  it("keeps a quiet session alive", function()
    local client, server = joined { keepalive = 0.02, timeout = 1 }
    local _, err = client:accept(task.now() + 1500)
    assert.equal("timeout", err.code)
    assert.is_true(client:is_alive())
    assert.is_true(server:is_alive())
    client:close()
    server:close()
  end)
end)

describe("yamux", function()
  local function frame(kind, flags, id, length, payload)
    local function number(value, bytes)
      local text = ""
      for i = bytes - 1, 0, -1 do
        text = text .. string.char(math.floor(value / 256 ^ i) % 256)
      end
      return text
    end
    return "\0" .. string.char(kind) .. number(flags, 2) .. number(id, 4) .. number(length, 4) .. (payload or "")
  end
  local DATA, WINDOW, PING, GO_AWAY = 0, 1, 2, 3
  local SYN, ACK, FIN, RST = 1, 2, 4, 8

  it("writes the frames of the specification", function()
    local client, peer = against_bytes { client = true, yamux = true, keepalive = 0 }
    local s = client:open()
    s:write "hello"
    assert.equal(frame(WINDOW, SYN, 1, 0) .. frame(DATA, 0, 1, 5, "hello"), peer:read_exact(29))
    s:shutdown()
    assert.equal(frame(WINDOW, FIN, 1, 0), peer:read_exact(12))
    peer:write(frame(DATA, 0, 1, 3, "yes"), frame(WINDOW, FIN, 1, 0))
    assert.equal("yes", s:read())
    assert.equal("eof", select(2, s:read()).code)
    s:close()
    client:close()
  end)

  it("takes streams, answers pings, and says what it has read", function()
    local server, peer = against_bytes { client = false, yamux = true, keepalive = 0 }
    peer:write(frame(WINDOW, SYN, 1, 0), frame(PING, SYN, 0, 77), frame(DATA, 0, 1, 5, "hello"))
    local s = assert(server:accept())
    assert.equal(frame(WINDOW, ACK, 1, 0) .. frame(PING, ACK, 0, 77), peer:read_exact(24))
    assert.equal("hello", s:read())
    assert.equal(frame(WINDOW, 0, 1, 5), peer:read_exact(12))
    peer:write(frame(WINDOW, FIN, 1, 0))
    assert.equal("eof", select(2, s:read()).code)
    assert.is_true(s:write "still") -- the other direction goes on
    assert.equal(frame(DATA, 0, 1, 5, "still"), peer:read_exact(17))
    s:close()
    assert.equal(frame(WINDOW, FIN, 1, 0), peer:read_exact(12))
    peer:write(frame(DATA, 0, 1, 1, "x"))
    assert.equal(frame(WINDOW, RST, 1, 0), peer:read_exact(12))
    server:close()
  end)

  it("keeps within the window of the peer, and minds its own", function()
    local client, peer = against_bytes { client = true, yamux = true, keepalive = 0, max_frame = 65535 }
    local s = client:open()
    local written
    task.spawn(function()
      written = s:write(("x"):rep(300000))
    end)
    local got = 0
    peer:read_exact(12)
    while got < 262144 do
      local a, b, c, d = peer:read_exact(12):byte(9, 12)
      got = got + #peer:read_exact(((a * 256 + b) * 256 + c) * 256 + d)
    end
    task.sleep(0.02)
    assert.is_nil(written)
    peer:write(frame(WINDOW, 0, 1, 100000))
    assert.equal(300000 - 262144, #peer:read_exact(12 + 300000 - 262144) - 12)
    helpers.eventually(function() return written end)
    assert.is_true(written)
    peer:write(frame(DATA, 0, 1, 262145))
    assert.equal("protocol", select(2, client:accept()).code)
    s:close()
    client:close()
  end)

  it("hears of a reset, and of a peer that goes", function()
    local client, peer = against_bytes { client = true, yamux = true, keepalive = 0 }
    local a = client:open()
    peer:write(frame(WINDOW, RST, 1, 0))
    assert.equal("reset", select(2, a:read()).code)
    peer:write(frame(GO_AWAY, 0, 0, 0))
    local b, err
    helpers.eventually(function()
      b, err = client:open()
      return not b
    end)
    assert.equal("closed", err.code)
    a:close()
    client:close()
  end)

  it("refuses another protocol", function()
    local server, peer = against_bytes { client = false, yamux = true, keepalive = 0 }
    peer:write "\1\0\0\0\3\0\0\0\0\0\0\0"
    local _, err = server:accept()
    assert.equal("protocol", err.code)
    assert.matches("mux.type", tostring(err), 1, true)
    server:close()
  end)
end)

describe("a session whose peer resets the connection", function()
  -- What its stream says, whether it reads or writes first.
  local function check(words, op, test)
    return helpers.task(function()
      local where, stop = hang_up(words)
      local client = session.smux(assert(stream.dial(where)), { client = true, version = 2, keepalive = 0 })
      local s = client:open()
      s:set_deadline(task.now() + 10000)
      local ok, err = s:write "hello"
      while ok do
        ok, err = op(s)
      end
      assert.equal("reset", err.code)
      test(tostring(err))
      client:close()
      stop()
    end)
  end

  local function read(s)
    return s:read()
  end

  local function write(s)
    task.sleep(0.001)
    return s:write "more"
  end

  for name, op in pairs { reads = read, writes = write } do
    it("without a word says what may be set differently to who " .. name, check("", op, function(text)
      assert.matches("hung up without a word; its transport, mux.type or mux.version may be another", text)
    end))

    it("after some words blames no setting to who " .. name, check("\2\3\0\0\0\0\0\0", op, function(text)
      assert.not_matches("mux.version", text)
    end))
  end
end)
