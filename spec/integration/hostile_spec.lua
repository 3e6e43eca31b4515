-- spec: no-asan
-- Peers that speak a transport in order to harm: each attack meets a process that serves somebody else
-- through the same listener meanwhile.  What must come of it: that one is served on, memory stays within
-- bounds, the offender is cut where there is something to cut, and the log does not grow by the attack.

local coding = require "tidegate.native.coding"
local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local scene = require "spec.helpers.scene"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "tidegate.tls"

local GROWTH_MAX = 48 * 1024 -- KiB
local COMPLAINTS_MAX = 2
local PATIENCE = 20000

local function le16(n)
  return string.char(n % 256, math.floor(n / 256))
end

local function le32(n)
  return le16(n % 65536) .. le16(math.floor(n / 65536))
end

local function smux(version, cmd, id, data)
  data = data or ""
  return string.char(version, cmd) .. le16(#data) .. le32(id) .. data
end

local function be(n, bytes)
  local text = ""
  for _ = 1, bytes do
    text, n = string.char(n % 256) .. text, math.floor(n / 256)
  end
  return text
end

local function yamux(kind, flags, id, length, data)
  return "\0" .. string.char(kind) .. be(flags, 2) .. be(id, 4) .. be(length, 4) .. (data or "")
end

local function h2(kind, flags, id, data)
  data = data or ""
  return be(#data, 3) .. string.char(kind, flags) .. be(id, 4) .. data
end

local PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" .. h2(4, 0, 0)
local CONNECT = "\2\7CONNECT\65\3a:1" -- :method and :authority, literal

local function many(count, each)
  local parts = {}
  for i = 1, count do
    parts[i] = each(i)
  end
  return table.concat(parts)
end

local UPGRADE = table.concat({ "GET /ws HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade",
  "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "%s", "" }, "\r\n")

local function upgraded(s, extension)
  s:write((UPGRADE:format(extension and "Sec-WebSocket-Extensions: " .. extension .. "\r\n" or "")))
  return s:read_until("\r\n\r\n", 65536)
end

-- A masked frame whose mask changes nothing.
local function ws(first, data)
  return string.char(first) .. "\255" .. be(#data, 8) .. "\0\0\0\0" .. data
end

-- A raw deflate stream of zeros, as permessage-deflate sends it.
local function deflated(size)
  local gzip = assert(coding.pack("gzip", ("\0"):rep(size)))
  return gzip:sub(11, -9)
end

local function encrypted(s)
  return assert(tls.connect(s, {}, "localhost", task.now() + 20000))
end

-- name, the transport, what is done to a stream, whether the attacker is cut
-- A request's head goes on and on.
local function endless_fields(s)
  for _ = 1, 5000 do
    if not s:write("X-A: ", ("a"):rep(1000), "\r\n") then
      break
    end
  end
end

local ATTACKS = {
  { "opens 20,000 streams", "mtcp", function(s)
    s:write(many(20000, function(i) return smux(2, 0, i * 2 + 1) end))
  end },
  { "opens and ends 20,000 streams", "mtcp", function(s)
    s:write(many(20000, function(i) return smux(2, 0, i * 2 + 1) .. smux(2, 1, i * 2 + 1) end))
  end },
  { "ignores its window", "mtcp", function(s)
    local block = ("x"):rep(60000)
    s:write(smux(2, 0, 3))
    for _ = 1, 2000 do
      if not s:write(smux(2, 2, 3, block)) then
        break
      end
    end
  end },
  { "sends keep-alives only", "mtcp", function(s)
    s:write(smux(2, 3, 0):rep(500000))
  end },
  { "says that more was read than it was sent", "mtcp", function(s)
    s:write(smux(2, 0, 3), smux(2, 4, 3, le32(100000000) .. le32(65536)))
  end, true },
  { "opens windows of 4 GiB and reads nothing", "mtcp", function(s)
    s:write(many(1000, function(i)
      return smux(2, 0, i * 2 + 1) .. smux(2, 4, i * 2 + 1, le32(0) .. le32(0xffffffff))
    end))
  end },
  { "sends frames without a byte", "mtcp", function(s)
    s:write(smux(2, 0, 3), smux(2, 2, 3):rep(300000))
  end },
  { "sends to streams that are not there", "mtcp", function(s)
    s:write(many(300, function(i) return smux(2, 2, 1000 + i, ("x"):rep(60000)) end))
  end },
  { "opens 20,000 streams", "mtcp?mux.type=yamux", function(s)
    s:write(many(20000, function(i) return yamux(1, 1, i * 2 + 1, 0) end))
  end },
  { "sends pings and reads no answer", "mtcp?mux.type=yamux", function(s)
    s:write(yamux(2, 1, 0, 1):rep(1000000))
  end },
  { "ignores its window", "mtcp?mux.type=yamux", function(s)
    s:write(yamux(1, 1, 3, 0), yamux(0, 0, 3, 100 * 1024 * 1024), ("x"):rep(10000000))
  end, true },
  { "opens a window beyond all measure", "mtcp?mux.type=yamux", function(s)
    s:write(yamux(1, 1, 3, 0), yamux(1, 0, 3, 0x7fffffff), yamux(1, 0, 3, 0x7fffffff))
  end, true },
  { "gives windows back a byte at a time", "mtcp?mux.type=yamux", function(s)
    s:write(yamux(1, 1, 3, 0), yamux(1, 0, 3, 1):rep(300000))
  end },
  { "resets what it has just asked for", "h2c", function(s)
    s:write(PREFACE, many(50000, function(i) return h2(1, 4, i * 2 - 1, CONNECT) .. h2(3, 0, i * 2 - 1, be(8, 4)) end))
  end, true },
  { "opens more streams than agreed", "h2c", function(s)
    s:write(PREFACE, many(20000, function(i) return h2(1, 4, i * 2 - 1, CONNECT) end))
  end },
  { "never ends its headers", "h2c", function(s)
    s:write(PREFACE, h2(1, 0, 1, CONNECT), h2(9, 0, 1, ("\0\1a\100" .. ("v"):rep(100)):rep(100)):rep(5000))
  end, true },
  { "names a large header of the table again and again", "h2c", function(s)
    local large = "\64\1a\127\145\30" .. ("v"):rep(127 + 17 + 30 * 128) -- kept as number 62
    s:write(PREFACE, many(50, function(i)
      return h2(1, 4, i * 2 - 1, CONNECT .. (i == 1 and large or "") .. ("\190"):rep(16000))
    end))
  end },
  { "grows its window beyond all measure", "h2c", function(s)
    s:write(PREFACE, h2(8, 0, 0, be(0x7fffffff, 4)):rep(2))
  end, true },
  { "asks for settings to be acknowledged", "h2c", function(s)
    s:write(PREFACE, h2(4, 0, 0):rep(200000))
  end, true },
  { "sends pings", "h2c", function(s)
    s:write(PREFACE, h2(6, 0, 0, "12345678"):rep(200000))
  end, true },
  { "sends frames of data without a byte", "h2c", function(s)
    s:write(PREFACE, h2(1, 4, 1, CONNECT), h2(0, 0, 1):rep(200000))
  end, true },
  { "orders streams about", "h2c", function(s)
    s:write(PREFACE, many(200000, function(i) return h2(2, 0, i * 2 + 1, be(1, 4) .. "\1") end))
  end },
  { "sends frames of unknown types", "h2c", function(s)
    s:write(PREFACE, h2(200, 255, 0, ("x"):rep(16384)):rep(1000))
  end },
  { "gives windows back a byte at a time", "h2c", function(s)
    s:write(PREFACE, h2(1, 4, 1, CONNECT), h2(8, 0, 1, be(1, 4)):rep(200000))
  end },
  { "grows and shrinks all windows", "h2c", function(s)
    s:write(PREFACE, many(100, function(i) return h2(1, 4, i * 2 - 1, CONNECT) end), many(20000, function(i)
      return h2(4, 0, 0, be(4, 2) .. be(i % 2 * 0x7fffffff, 4))
    end))
  end, true },
  { "wants a table of headers of 4 GiB", "h2c", function(s)
    s:write(PREFACE, h2(4, 0, 0, be(1, 2) .. be(0xffffffff, 4)), many(500, function(i)
      return h2(1, 4, i * 2 - 1, CONNECT)
    end))
  end },
  { "counts headers without end", "h2c", function(s)
    s:write(PREFACE, h2(1, 4, 1, CONNECT .. "\127" .. ("\255"):rep(1000)))
  end, true },
  { "sends messages without a byte", "grpc?grpcInsecure=true", function(s)
    local block = "\131\134\68\17/GostTunel/Tunnel\65\1a"
    s:write(PREFACE, h2(1, 4, 1, block), h2(0, 0, 1, ("\0\0\0\0\0"):rep(3000)):rep(500))
  end },
  { "names a message of 4 GiB", "grpc?grpcInsecure=true", function(s)
    local block = "\131\134\68\29/GostTunel/Tunnel-not-there-x\65\1a"
    s:write(PREFACE, h2(1, 4, 1, block), h2(0, 0, 1, "\0\255\255\255\255" .. ("x"):rep(10000)))
  end },
  { "names a frame of 8 EiB", "ws", function(s)
    assert(upgraded(s))
    s:write("\130\255\127\255\255\255\255\255\255\255\0\0\0\0", ("x"):rep(1000000))
  end },
  { "never ends its message", "ws", function(s)
    assert(upgraded(s))
    s:write("\2\128\0\0\0\0", ("\0\128\0\0\0\0"):rep(500000))
  end },
  { "sends a control frame that is too long", "ws", function(s)
    assert(upgraded(s))
    s:write(ws(137, ("x"):rep(1000)))
  end, true },
  { "sends pings and reads no answer", "ws", function(s)
    assert(upgraded(s))
    s:write(("\137\128\0\0\0\0"):rep(500000))
  end },
  { "sends what unpacks to 256 MiB", "ws?enableCompression=true", function(s)
    assert(upgraded(s, "permessage-deflate; server_no_context_takeover; client_no_context_takeover"))
    s:write(ws(194, deflated(256 * 1024 * 1024)))
  end },
  { "never ends its request's head", "ws", function(s)
    s:write "GET /ws HTTP/1.1\r\n"
    endless_fields(s)
  end, true },
  { "asks for 5,000 tokens", "pht", function(s)
    s:write(("GET /authorize HTTP/1.1\r\nHost: a\r\n\r\n"):rep(5000))
  end },
  { "never ends a line", "pht", function(s)
    s:write "POST /push?token=x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"
    for _ = 1, 1000 do
      if not s:write(("QUJD"):rep(10000)) then
        break
      end
    end
  end, true },
  { "never ends its request's head", "ohttp", function(s)
    s:write "GET / HTTP/1.1\r\n"
    endless_fields(s)
  end, true },
  { "sends records without a byte", "otls", function(s)
    s:write(("\23\3\3\0\0"):rep(500000))
  end },
  { "sends what is no TLS", "tls", function(s)
    s:write(("\22\3\1\255\255"):rep(100000))
  end, true },
  { "opens 20,000 streams", "mtls", function(s)
    encrypted(s):write(many(20000, function(i) return smux(2, 0, i * 2 + 1) end))
  end },
}

-- A service of this transport, and a tunnel through it that stays.
local function scene_of(transport)
  local path, query = transport:match "^([^?]+)(.*)$"
  local port = programs.free_port()
  local far = proxy.start { "-L", ("relay+%s://127.0.0.1:%d%s"):format(path, port, query) }
  local near = proxy.start { "-L", "socks5://127.0.0.1:0", "-F",
    ("relay+%s://127.0.0.1:%d%s"):format(path, port, query) }
  return far, near, port
end

local function tunnel(near, port)
  local s = scene.own(assert(stream.dial("127.0.0.1:" .. near:port(1))))
  s:set_deadline(task.now() + PATIENCE)
  s:write("\5\1\0", "\5\1\0\1\127\0\0\1" .. be(port, 2))
  assert(s:read_exact(12))
  return s
end

local function echoes(s, text)
  s:set_deadline(task.now() + PATIENCE)
  s:write(text)
  assert.equal(text, s:read_exact(#text))
end

-- Streams that began are told like those of any client; what is wrong is told once.
local function complaints(p)
  local count = 0
  for level in p:log():gmatch '"level":"(%l+)"' do
    count = count + ((level == "warn" or level == "error") and 1 or 0)
  end
  return count
end

describe("who attacks", function()
  after_each(helpers.task(scene.stop_all))

  for _, attack in ipairs(ATTACKS) do
    local what, transport, strike, cut = unpack(attack)
    it(("over %s and %s harms nobody"):format(transport, what), scene.test(function()
      local far, near, at = scene_of(transport)
      local port = tonumber(scene.tcp_echo())
      local innocent = tunnel(near, port)
      echoes(innocent, ("a"):rep(100000))
      local memory, said = far:rss(), complaints(far)

      local s = scene.own(assert(stream.dial("127.0.0.1:" .. at)))
      s:set_deadline(task.now() + PATIENCE)
      local striking = helpers.spawn(function()
        pcall(strike, s)
      end)
      if cut then
        local part, err
        repeat
          part, err = s:read()
        until not part
        assert.is_not.equal("timeout", err.code)
      end
      echoes(innocent, ("b"):rep(100000))
      echoes(tunnel(near, port), ("c"):rep(100000))
      assert.is_true(far:rss() - memory < GROWTH_MAX, ("%d KiB more"):format(far:rss() - memory))
      s:close()
      striking(PATIENCE * 2)
      local told = complaints(far) - said
      assert.is_true(told <= COMPLAINTS_MAX, ("%d complaints, the last:\n%s"):format(told, far:log():sub(-2000)))
      echoes(innocent, "d")
    end), 60)
  end

  it("gets no other handshake within TLS", scene.test(function()
    local far, near, at = scene_of "tls"
    local innocent = tunnel(near, tonumber(scene.tcp_echo()))
    local command = "printf 'R\\nR\\n' | openssl s_client -tls1_2 -connect 127.0.0.1:" .. at
    local made = programs.run("sh", { "-c", command })
    assert.matches("RENEGOTIATING", made.stdout .. made.stderr)
    assert.matches("no renegotiation", made.stdout .. made.stderr)
    echoes(innocent, "unharmed")
    assert.is_true(complaints(far) <= COMPLAINTS_MAX)
  end))

  for _, transport in ipairs {
    "tcp", "tls", "ws", "mtcp", "mtcp?mux.type=yamux", "h2c", "grpc?grpcInsecure=true", "pht",
  } do
    it("by not reading holds little of what comes for it over " .. transport, scene.test(function()
      local far, near = scene_of(transport)
      local port = tonumber(scene.tcp_echo())
      local source = scene.serve(function(peer)
        local block = ("z"):rep(65536)
        while peer:write(block) do end -- luacheck: ignore
        peer:close()
      end)
      local innocent = tunnel(near, port)
      local before = far:rss() + near:rss()
      for _ = 1, 20 do
        tunnel(near, tonumber(source))
      end
      for _ = 1, 20 do
        echoes(innocent, ("e"):rep(10000))
      end
      local more = far:rss() + near:rss() - before
      assert.is_true(more < GROWTH_MAX, ("%d KiB more"):format(more))
    end), 60)
  end
end)
