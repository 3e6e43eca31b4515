-- simple-obfs' disguises: whole proxies over each, and what strangers meet.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local BLOCK = ("0123456789abcdef"):rep(65536) -- 1 MiB

local function connect(port)
  local s = assert(stream.dial("127.0.0.1:" .. port))
  s:set_deadline(task.now() + 10000)
  return s
end

-- A forwarder to `address` through a pair with this disguise between.
local function through(transport, address, query)
  local far = proxy.start { "-L", ("relay+%s://127.0.0.1:0"):format(transport) }
  local near = proxy.start {
    "-L", "tcp://127.0.0.1:0/" .. address,
    "-F", ("relay+%s://127.0.0.1:%d%s"):format(transport, far:port(1), query or ""),
  }
  return near, far
end

local function bytes_of(hex)
  return (hex:gsub("%s", ""):gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

-- The specification's example: the first bytes are "hello", the name is example.com.
local hello = bytes_of("16 03 01 00 e4 01 00 00 e0 03 03 5f 5e 10 00" .. ("11"):rep(28) .. "20" .. ("22"):rep(32)
  .. [[ 00 38 c0 2c c0 30 00 9f cc a9 cc a8 cc aa c0 2b c0 2f 00 9e c0 24 c0 28 00 6b c0 23 c0 27 00 67 c0 0a c0 14
  00 39 c0 09 c0 13 00 33 00 9d 00 9c 00 3d 00 3c 00 35 00 2f 00 ff 01 00 00 5f 00 23 00 05 68 65 6c 6c 6f 00 00 00
  10 00 0e 00 00 0b 65 78 61 6d 70 6c 65 2e 63 6f 6d 00 0b 00 04 03 01 00 02 00 0a 00 0a 00 08 00 1d 00 17 00 19 00
  18 00 0d 00 20 00 1e 06 01 06 02 06 03 05 01 05 02 05 03 04 01 04 02 04 03 03 01 03 02 03 03 02 01 02 02 02 03 00
  16 00 00 00 17 00 00 ]])

local function u16(number)
  return string.char(math.floor(number / 256), number % 256)
end

-- The same with other first bytes.
local function hello_with(payload)
  local more = #payload - 5
  return hello:sub(1, 3) .. u16(228 + more) .. "\1\0" .. u16(224 + more) .. hello:sub(10, 136) .. u16(95 + more)
    .. "\0\35" .. u16(#payload) .. payload .. hello:sub(148)
end

describe("obfuscation", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  for _, transport in ipairs { "ohttp", "otls" } do
    it(transport .. " carries much, both ways, many at once", helpers.task(function()
      local address, stop = server.echo()
      local near = through(transport, address)
      local done = {}
      for i = 1, 20 do
        done[i] = helpers.spawn(function()
          local s = connect(near:port(1))
          local data = i % 5 == 0 and BLOCK or "stream " .. i
          local writing = helpers.spawn(s.write, s, data)
          assert.is_true(s:read_exact(#data) == data)
          assert.is_true(writing())
          s:shutdown()
          assert.is_nil((s:read()))
          s:close()
        end)
      end
      for i = 1, 20 do
        done[i]()
      end
      stop()
    end))

    it(transport .. " passes the end of one direction on", helpers.task(function()
      local address, stop = server.accept(function(s)
        local got = ""
        repeat
          local bytes, err = s:read()
          got = got .. (bytes or "")
        until err
        s:write("had " .. #got)
        s:close()
      end)
      local s = connect(through(transport, address):port(1))
      s:write(BLOCK)
      s:shutdown()
      assert.equal("had " .. #BLOCK, s:read_exact(4 + #tostring(#BLOCK)))
      s:close()
      stop()
    end))

    it(transport .. " lets the server speak first", helpers.task(function()
      local address, stop = server.echo "220 ready\r\n"
      local far = proxy.start { "-L", ("forward+%s://127.0.0.1:0/%s"):format(transport, address) }
      local near = proxy.start { "-L", "tcp://127.0.0.1:0/x:1", "-F", ("forward+%s://127.0.0.1:%d"):format(
        transport, far:port(1)) }
      local s = connect(near:port(1))
      assert.equal("220 ready\r\n", s:read_exact(11))
      s:close()
      stop()
    end))
  end

  it("sends the request of a WebSocket with the first bytes, and takes any 101", helpers.task(function()
    local seen
    local address, stop = server.accept(function(s)
      seen = s:read()
      s:write "HTTP/1.1 101 Switching Protocols\r\nX: "
      helpers.pass()
      s:write "y\r\n\r"
      helpers.pass()
      s:write "\npong"
      s:read()
      s:close()
    end)
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/x:1", "-F",
      ("forward+ohttp://%s?host=www.example.com"):format(address) }
    local s = connect(near:port(1))
    s:write "ping"
    assert.equal("pong", s:read_exact(4))
    assert.truthy(seen:find("^GET / HTTP/1.1\r\nHost: www.example.com\r\nUser%-Agent: Go%-http%-client/1.1\r\n" ..
      "Connection: Upgrade\r\nSec%-Websocket%-Key: [%w+/]+==\r\nUpgrade: websocket\r\n\r\nping$"), seen)
    s:close()
    stop()
  end))

  it("answers with the target's first bytes, to who did not wait for it", helpers.task(function()
    local address, stop = server.accept(function(s)
      s:read_exact(5)
      s:write "world"
      s:close()
    end)
    local far = proxy.start { "-L", "forward+ohttp://127.0.0.1:0/" .. address }
    local s = connect(far:port(1))
    local request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"
    s:write(request, "hel")
    s:set_deadline(task.now() + 50)
    assert.is_nil((s:read()))
    s:set_deadline(task.now() + 10000)
    s:write "lo"
    local answer = s:read_until("\r\n\r\n", 4096)
    assert.truthy(answer:find "^HTTP/1.1 101 ")
    assert.equal("world", s:read_exact(5))
    s:close()
    stop()
  end))

  it("says which side is wrong", helpers.task(function()
    local address, stop = server.accept(function(s)
      s:read()
      s:write "HTTP/1.1 400 Bad Request\r\n\r\n"
      s:close()
    end)
    for transport, words in pairs { ohttp = "no ohttp server", otls = "no otls server" } do
      local near = proxy.start { "-L", "socks5://127.0.0.1:0", "-F", ("socks5+%s://%s"):format(transport, address) }
      local s = connect(near:port(1))
      s:write "\5\1\0\5\1\0\1\127\0\0\1\0\80"
      s:read_exact(2)
      s:read()
      near:logged(words, true)
      s:close()
    end
    stop()

    local p = proxy.start { "-L", "http+ohttp://127.0.0.1:0", "-L", "http+otls://127.0.0.1:0" }
    local s = connect(p:port(1))
    s:write "POST / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert.truthy(s:read():find "^HTTP/1.1 400 ")
    s:close()
    p:logged("no ohttp client's request", true)
    s = connect(p:port(2))
    s:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert.is_nil((s:read()))
    s:close()
    p:logged("no otls client", true)
  end))

  it("takes a client's first bytes in a record longer than TLS has, as gost's clients make it", helpers.task(function()
    assert.equal(hello, hello_with "hello")
    local address, stop = server.echo()
    local p = proxy.start { "-L", "forward+otls://127.0.0.1:0/" .. address }
    local s = connect(p:port(1))
    local data = ("long"):rep(8192)
    s:write(hello_with(data))
    local got = ""
    s:read_exact(96 + 6)
    while #got < #data do
      local head = s:read_exact(5)
      got = got .. s:read_exact(head:byte(4) * 256 + head:byte(5))
    end
    assert.is_true(got == data)
    s:close()
    stop()
  end))

  it("speaks otls byte by byte as gost does", helpers.task(function()
    local address, stop = server.accept(function(s)
      s:write(s:read() == "hello" and "OK" or "no")
      s:read()
      s:close()
    end)
    local p = proxy.start { "-L", "forward+otls://127.0.0.1:0/" .. address }
    assert.equal(233, #hello)
    local s = connect(p:port(1))
    for i = 1, #hello, 50 do
      s:write(hello:sub(i, i + 49))
      helpers.pass()
    end
    local answer = s:read_exact(96 + 6 + 7)
    assert.equal(bytes_of "16 03 01 00 5b 02 00 00 57 03 03", answer:sub(1, 11))
    assert.equal("\32" .. ("\34"):rep(32) .. bytes_of [[ cc a8 00 00 0f ff 01 00 01 00 00 17 00 00 00 0b 00 02 01 00
      14 03 03 00 01 01 16 03 03 00 02 4f 4b]], answer:sub(44))
    s:close()

    local got -- and the other way round: the hello we make differs in its random bytes only
    local capture, stop_capture = server.accept(function(c)
      got = c:read_exact(#hello)
      c:close()
    end)
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/x:1", "-F",
      ("forward+otls://%s?host=example.com"):format(capture) }
    s = connect(near:port(1))
    s:write "hello"
    s:read()
    assert.equal(hello:sub(1, 11), got:sub(1, 11))
    assert.equal(hello:sub(77), got:sub(77))
    s:close()
    stop()
    stop_capture()
  end))
end)
