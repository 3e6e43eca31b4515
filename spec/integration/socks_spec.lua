-- Whole proxies: datagrams over socks5 and relay, BIND, what auto tells apart, and who is turned away.

local connection = require "spec.helpers.connection"
local helpers = require "spec.helpers"
local packet = require "tidegate.native.packet"
local proxy = require "spec.helpers.proxy"
local scene = require "spec.helpers.scene"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local own, stop_all, test, tcp_echo, udp_echo =
  scene.own, scene.stop_all, scene.test, scene.tcp_echo, scene.udp_echo

local function exchange(port)
  local socket = own(assert(packet.udp { connect = "127.0.0.1:" .. port }))
  socket:set_deadline(task.now() + 20000)
  for _, size in ipairs { 1, 100, 1400, 4000 } do
    local data = ("%d "):format(size):rep(size):sub(1, size)
    assert(socket:send(data))
    assert.equal(data, (socket:recv()))
  end
end

describe("datagrams", function()
  after_each(helpers.task(stop_all))

  for what, urls in pairs {
    ["UDP-TUN"] = { "socks5://127.0.0.1:0?udp=true&notls=true", "socks5://127.0.0.1:%d?notls=true" },
    ["UDP-TUN inside TLS"] = { "socks5://u:p@127.0.0.1:0?udp=true", "socks5://u:p@127.0.0.1:%d" },
    ["UDP ASSOCIATE"] = { "socks5://127.0.0.1:0?udp=true", "socks5://127.0.0.1:%d?relay=udp" },
    ["relay"] = { "relay://u:p@127.0.0.1:0", "relay://u:p@127.0.0.1:%d" },
    ["relay with nodelay"] = { "relay://127.0.0.1:0?nodelay=true", "relay://127.0.0.1:%d?nodelay=true" },
  } do
    it("pass through " .. what, test(function()
      local origin = udp_echo()
      local far = proxy.start { "-L", urls[1] }
      local p = proxy.start { "-L", ("udp://127.0.0.1:0/127.0.0.1:%d"):format(origin),
        "-F", urls[2]:format(far:port(1)) }
      exchange(p:port(1))
    end))
  end

  it("reach the target of a relay service", test(function()
    local far = proxy.start { "-L", ("relay://127.0.0.1:0/127.0.0.1:%d"):format(udp_echo()) }
    local p = proxy.start { "-L", "udp://127.0.0.1:0/192.0.2.1:9", "-F", "relay://127.0.0.1:" .. far:port(1) }
    exchange(p:port(1))
  end))
end)

describe("bind", function()
  after_each(helpers.task(stop_all))

  for _, case in ipairs {
    { "socks5", "socks5://127.0.0.1:0?bind=true" },
    { "socks5", "socks5://127.0.0.1:0?bind=true&mux.version=2", { ["mux.version"] = 2 } },
    { "relay", "relay://127.0.0.1:0?bind=true" },
  } do
    it("brings peers through " .. case[2], test(function()
      local p = proxy.start { "-L", case[2] }
      local connector = connection.instance("connector", case[1], case[3])
      local ctx = connection.ctx()
      local top = assert(stream.dial("127.0.0.1:" .. p:port(1)))
      if connector.handshake then
        top = assert(connector:handshake(ctx, top))
      end
      local bound = own(assert(connector:bind(ctx, top, "tcp", "127.0.0.1:0")))
      local block = ("tide"):rep(100000)
      for _ = 1, 5 do
        local peer = own(assert(stream.dial(bound:address())))
        local got, from = assert(bound:accept(task.now() + 20000))
        own(got)
        assert.equal(peer:local_address(), from)
        task.spawn(function() peer:write(block) end)
        got:set_deadline(task.now() + 20000)
        assert.is_true(block == got:read_exact(#block))
      end
      bound:close()
      helpers.eventually(function() return not stream.dial(bound:address()) end, "still listens")
    end))
  end
end)

describe("auto", function()
  after_each(helpers.task(stop_all))

  it("tells socks4, socks5 and http apart, byte by byte", test(function()
    local port = tcp_echo()
    local p = proxy.start { "-L", "auto://127.0.0.1:0" }
    local high, low = math.floor(port / 256), port % 256
    for _, case in ipairs {
      { "\4\1" .. string.char(high, low) .. "\127\0\0\1\0", "^%z\90......$", 8 },
      { "\5\1\0\5\1\0\1\127\0\0\1" .. string.char(high, low), "^\5%z\5%z%z\1......$", 12 },
      { ("CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n"):format(port), "^HTTP/1%.1 200 ", 15 },
    } do
      local client = own(assert(stream.dial("127.0.0.1:" .. p:port(1))))
      client:set_deadline(task.now() + 20000)
      for byte in case[1]:gmatch "." do
        client:write(byte)
        helpers.pass()
      end
      assert.matches(case[2], client:read_exact(case[3]))
      if case[3] == 15 then
        client:read_until("\r\n\r\n", 1000)
      end
      client:write "ping"
      assert.equal("ping", client:read_exact(4))
    end
  end))

  it("has nowhere to send TLS that names no server", test(function()
    local p = proxy.start { "-L", "auto://127.0.0.1:0" }
    local client = own(assert(stream.dial("127.0.0.1:" .. p:port(1))))
    client:set_deadline(task.now() + 20000)
    client:write "\22\3\1\0\4\1\0\0\0"
    assert.is_nil((client:read()))
  end))
end)
