-- WebSocket streams: frames both ways, control frames, ends, compression, and peers that misbehave.

local helpers = require "spec.helpers"
local relay = require "tidegate.native.relay"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"
local ws = require "tidegate.native.ws"

-- Both ends, over one in-memory pair.
local function joined(options)
  local a, b = stream.pair()
  return ws.client(a, options), ws.server(b, options)
end

-- One end, and the bare bytes of its peer.
local function server(options)
  local a, b = stream.pair()
  return ws.server(a, options), b
end

local function client(options)
  local a, b = stream.pair()
  return ws.client(a, options), b
end

local PROTOCOL_ERROR = "\136\2\3\234" -- a Close with 1002

local function code_of(_, err)
  return err and err.code
end

describe("websocket", function()
  it("carries bytes both ways, in frames as they should be", helpers.task(function()
    local s, raw = server()
    raw:write "\130\133\1\2\3\4\105\103\111\104\110" -- "hello", masked
    assert.equal("hello", s:read())
    s:write("wor", "ld")
    assert.equal("\130\5world", raw:read_exact(7))
    assert.equal("websocket", s:layer())
    s:close()
    raw:close()

    local c
    c, raw = client()
    c:write "hello"
    local frame = raw:read_exact(11)
    assert.equal("\130\133", frame:sub(1, 2))
    for i = 1, 5 do
      assert.equal(("hello"):byte(i), bit.bxor(frame:byte(6 + i), frame:byte(2 + (i - 1) % 4 + 1)))
    end
    raw:write "\129\1x\130\126\0\3abc\130\127\0\0\0\0\0\0\0\1y"
    assert.equal("xabcy", c:read_exact(5))
    c:close()
    raw:close()
  end))

  for name, options in pairs { plain = {}, compressed = { packed = true } } do
    it("moves much data both ways at once, " .. name, helpers.task(function()
      local c, s = joined(options)
      local parts = {}
      for i = 1, 2000 do
        parts[i] = ("%d:%s"):format(i * 7919 % 1000, ("z"):rep(i % 700))
      end
      local data = table.concat(parts)
      local writers = {}
      for _, one in ipairs { c, s } do
        writers[#writers + 1] = helpers.spawn(function()
          for at = 1, #data, 100000 do
            assert.is_true(one:write(data:sub(at, at + 99999)))
          end
          assert.is_true(one:shutdown())
        end)
      end
      local readers = {}
      for _, one in ipairs { s, c } do
        readers[#readers + 1] = helpers.spawn(function()
          return one:read_exact(#data), one:read()
        end)
      end
      for i = 1, 2 do
        writers[i]()
        local got, more = readers[i]()
        assert.is_true(got == data)
        assert.is_nil(more)
      end
      c:close()
      s:close()
    end))
  end

  it("is relayed", helpers.task(function()
    local c, s = joined()
    local near, far = stream.pair()
    relay.start(s, near)
    local writing = helpers.spawn(function()
      for _ = 1, 50 do
        c:write(("x"):rep(40000))
      end
      c:shutdown()
    end)
    assert.equal(2000000, #far:read_exact(2000000))
    writing()
    assert.equal("eof", code_of(far:read()))
    far:write "answer"
    far:close()
    assert.equal("answer", c:read_exact(6))
    assert.equal("eof", code_of(c:read()))
    c:close()
  end))

  it("takes messages in parts, with control frames between", helpers.task(function()
    local s, raw = server()
    raw:write("\1\131\0\0\0\0abc", "\137\132\0\0\0\0ping", "\0\128\0\0\0\0", "\138\128\0\0\0\0",
      "\128\130\0\0\0\0de")
    assert.equal("abcde", s:read_exact(5))
    assert.equal("\138\4ping", raw:read_exact(6))
    s:close()
    raw:close()
  end))

  it("takes frames byte by byte", helpers.task(function()
    local s, raw = server()
    local reading = helpers.spawn(s.read_exact, s, 5)
    for byte in ("\2\131\1\2\3\4\96\96\96\128\254\0\2\0\0\0\0yz"):gmatch "." do
      raw:write(byte)
      helpers.pass()
    end
    assert.equal("abcyz", (reading():gsub("^...", "abc")))
    s:close()
    raw:close()
  end))

  it("answers a Close, after which nothing goes", helpers.task(function()
    local s, raw = server()
    raw:write "\130\129\0\0\0\0x\136\133\0\0\0\0\3\232bye"
    assert.equal("x", s:read())
    assert.equal("eof", code_of(s:read()))
    assert.equal("\136\2\3\232", raw:read_exact(4))
    assert.equal("reset", code_of(s:write "more"))
    s:close()
    raw:close()
  end))

  it("passes on the end of one direction alone", helpers.task(function()
    local c, s = joined()
    c:write "question"
    c:shutdown()
    assert.equal("question", s:read_exact(8))
    assert.equal("eof", code_of(s:read()))
    s:write "answer"
    assert.equal("answer", c:read_exact(6))
    c:close()
    s:close()
  end))

  it("pings, and gives up a peer that does not answer", helpers.task(function()
    local c, raw = client { keepalive = 0.05 }
    local reading = helpers.spawn(c.read, c)
    assert.equal("\137\128", raw:read_exact(6):sub(1, 2))
    raw:write "\138\0"
    local _, err = reading(20000)
    assert.equal("timeout", err.code)
    c:close()
    raw:close()
  end))

  it("asks a peer again before it gives it up, when it did not run itself for long", helpers.task(function()
    local c, raw = client { keepalive = 0.1 }
    local reading = helpers.spawn(c.read, c)
    helpers.pass()
    uv.sleep(300)
    assert.equal("\137\128", raw:read_exact(6):sub(1, 2))
    raw:write "\138\0\130\10still here"
    assert.equal("still here", reading())
    c:close()
    raw:close()
  end))

  it("keeps a peer that answers", helpers.task(function()
    local c, s = joined { keepalive = 0.3 }
    local reading = helpers.spawn(s.read, s)
    local answer = helpers.spawn(c.read, c)
    task.sleep(1)
    c:write "still here"
    assert.equal("still here", reading())
    s:write "yes"
    assert.equal("yes", answer())
    c:close()
    s:close()
  end))

  for words, bytes in pairs {
    ["no valid frame"] = "\255\255\255\255",
    ["a frame without a mask"] = "\130\5hello",
    ["a continuation of nothing"] = "\128\129\0\0\0\0x",
    ["a message inside another"] = "\2\129\0\0\0\0x\130\129\0\0\0\0y",
    ["a control frame that is too long"] = "\137\254\0\200\0\0\0\0",
    ["a control frame in parts"] = "\9\128\0\0\0\0",
    ["compression without agreement"] = "\194\129\0\0\0\0x",
  } do
    it("refuses " .. words, helpers.task(function()
      local s, raw = server()
      raw:write("\130\130\0\0\0\0ok", bytes)
      assert.matches("^ok", s:read_exact(2))
      local data, err
      repeat
        data, err = s:read()
      until not data
      assert.equal("protocol", err.code)
      assert.equal(PROTOCOL_ERROR, raw:read_exact(4))
      s:close()
      assert.is_nil((raw:read()))
      raw:close()
    end))
  end

  it("refuses what is not compressed well", helpers.task(function()
    local s, raw = server { packed = true }
    raw:write "\194\132\0\0\0\0\255\255\255\255"
    assert.equal("protocol", code_of(s:read()))
    assert.equal(PROTOCOL_ERROR, raw:read_exact(4))
    s:close()
    raw:close()
  end))

  it("tells a server what it did wrong, masked as all a client says", helpers.task(function()
    local c, raw = client()
    raw:write "\130\129\0\0\0\0x" -- a mask
    assert.equal("protocol", code_of(c:read()))
    local frame = raw:read_exact(8)
    assert.equal("\136\130", frame:sub(1, 2))
    assert.equal(1002, bit.bxor(frame:byte(7), frame:byte(3)) * 256 + bit.bxor(frame:byte(8), frame:byte(4)))
    c:close()
    raw:close()
  end))

  it("does not tell a peer that is told already, and ends", helpers.task(function()
    local s, raw = server()
    raw:write "\136\128\0\0\0\0\255\255\255\255" -- a Close, and nonsense behind it
    assert.equal("eof", code_of(s:read()))
    s:close()
    assert.equal("\136\0", raw:read_exact(2))
    assert.equal("eof", code_of(raw:read()))
    raw:close()
  end))

  for role, make in pairs { server = server, client = client } do
    it("does not wait for a peer that breaks the rules and reads nothing, as a " .. role, helpers.task(function()
      local s, raw = make()
      s:set_deadline(task.now() + 20)
      assert.equal("timeout", code_of(s:write(("x"):rep(4194304))))
      raw:write "\255\255"
      s:set_deadline(nil)
      assert.equal("protocol", code_of(s:read()))
      s:close()
      local bytes
      repeat
        bytes = raw:read()
        assert.is_nil(bytes and bytes:find(PROTOCOL_ERROR, 1, true)) -- nothing in the middle of a frame
      until not bytes
      raw:close()
    end))
  end

  it("tells an end in the middle of a frame from an end", helpers.task(function()
    local s, raw = server()
    raw:write "\130\136\0\0\0\0half"
    raw:close()
    assert.equal("half", s:read())
    local _, err = s:read()
    assert.equal("eof", err.code)
    assert.matches("middle of a frame", tostring(err))
    s:close()
  end))

  it("does not drown in pings", helpers.task(function()
    local s, raw = server()
    local flood = ("\137\128\0\0\0\0"):rep(10000)
    local writing = helpers.spawn(raw.write, raw, flood, "\130\130\0\0\0\0ok")
    assert.equal("ok", s:read())
    writing()
    s:close()
    raw:close()
  end))
end)
