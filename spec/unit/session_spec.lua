local session = require "tidegate.native.session"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

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

for version = 1, 2 do
  describe("smux version " .. version, function()
    local options = function() return { version = version } end

    it("carries bytes both ways", function()
      local client, server = joined(options())
      local a = client:open()
      assert.is_true(a:write "hello")
      local b = assert(server:accept())
      assert.equal("hello", b:read_exact(5))
      b:write("wor", "ld")
      assert.equal("world", a:read_exact(5))
      assert.equal("smux", a:layer())
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

    it("delivers what arrived before the session ended", function()
      local client, server = joined(options())
      local a = client:open()
      a:write "last words"
      local b = server:accept()
      client:close()
      task.sleep(0.01)
      assert.equal("last words", b:read())
      local _, err = b:read()
      assert.equal("reset", err.code)
      local _, dead = server:accept()
      assert.equal("eof", dead.code)
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
    task.sleep(0.02)
    assert.equal(1024, server:count())
    assert.equal("\1\1\0\0", peer:read_exact(8):sub(1, 4))
    server:close()
  end)

  it("stops reading when nobody takes what arrives", function()
    local a, b = stream.pair()
    local client = session.smux(a, { client = true, keepalive = 0 })
    local server = session.smux(b, { client = false, keepalive = 0, max_receive = 65536 })
    local s = client:open()
    s:set_deadline(task.now() + 50)
    local ok, err = s:write(("x"):rep(1000000))
    assert.is_nil(ok)
    assert.equal("timeout", err.code)
    local t = server:accept()
    local got = 0
    t:set_deadline(task.now() + 50)
    repeat
      local part = t:read()
      got = got + (part and #part or 0)
    until not part
    assert.is_true(got > 65536)
    client:close()
    server:close()
  end)

  it("version 2 keeps within the window of the peer", function()
    local client, peer = against_bytes { client = true, version = 2, keepalive = 0 }
    local s = client:open()
    s:set_deadline(task.now() + 30)
    task.spawn(function() s:write(("x"):rep(400000)) end)
    peer:set_deadline(task.now() + 200)
    local head = peer:read_exact(8)
    assert.equal("\2\0\0\0\3\0\0\0", head)
    local got = 0
    while true do
      head = peer:read_exact(8)
      if not head then break end
      local len = head:byte(3) + head:byte(4) * 256
      assert(peer:read_exact(len))
      got = got + len
    end
    assert.equal(262144, got)
    client:close()
  end)

  it("gives up on a peer that stays silent", function()
    local client = against_bytes { client = true, keepalive = 0.02, timeout = 0.06 }
    local _, err = client:accept()
    assert.equal("timeout", err.code)
    client:close()
  end)

  it("keeps a quiet session alive", function()
    local client, server = joined { keepalive = 0.02, timeout = 0.1 }
    local _, err = client:accept(task.now() + 300)
    assert.equal("timeout", err.code)
    assert.is_true(client:is_alive())
    assert.is_true(server:is_alive())
    client:close()
    server:close()
  end)
end)
