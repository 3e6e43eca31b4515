-- WebSockets and sessions of many streams: whole proxies over each of these transports, and what who
-- asks for something else is told.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local socks = require "tidegate.native.socks"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local TRANSPORTS = { "ws", "wss", "mws", "mwss", "mtcp", "mtls", "mwss?mux.type=yamux" }
local STREAMS = 60

-- A proxy, and another one that reaches targets through it.  @return near, far
local function chain(transport, query, near_query)
  local far = proxy.start { "-L", ("socks5+%s://127.0.0.1:0%s"):format(transport, query or "") }
  local near = proxy.start {
    "-L", "socks5://127.0.0.1:0",
    "-F", ("socks5+%s://127.0.0.1:%d%s"):format(transport, far:port(1), near_query or query or ""),
  }
  return near, far
end

-- A tunnel through a SOCKS5 proxy.
local function tunnel(p, address)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 20000))
  s:set_deadline(task.now() + 20000)
  s:write "\5\1\0"
  assert.equal("\5\0", s:read_exact(2))
  local host, port = address:match "^(.*):(%d+)$"
  s:write((socks.encode_request5(1, host, tonumber(port))))
  local code, why = s:receive(socks.reply5)
  if code ~= 0 then
    s:close()
    return nil, code or why
  end
  return s
end

local function get(port, request)
  local s = assert(stream.dial("127.0.0.1:" .. port))
  s:set_deadline(task.now() + 20000)
  s:write(request)
  local answer = ""
  repeat
    local bytes = s:read()
    answer = answer .. (bytes or "")
  until not bytes
  s:close()
  return answer
end

describe("transports", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  for _, transport in ipairs(TRANSPORTS) do
    local name, query = transport:match "^(%w+)(.*)$"
    it(transport .. " carries many streams, and much", helpers.task(function()
      local address, stop = server.echo()
      local near, far = chain(name, query)
      local block = ("0123456789abcdef"):rep(16384) -- 256 KiB
      local done = {}
      for i = 1, STREAMS do
        done[i] = helpers.spawn(function()
          local s = assert(tunnel(near, address))
          local data = i % 10 == 0 and block or ("stream %d"):format(i)
          local writing = helpers.spawn(s.write, s, data)
          assert.is_true(s:read_exact(#data) == data)
          assert.is_true(writing())
          s:close()
        end)
      end
      for i = 1, STREAMS do
        done[i]()
      end
      if transport:sub(1, 1) == "m" then -- few connections carry them all
        helpers.eventually(function()
          return far:descriptors() < STREAMS
        end, "each stream has a connection of its own")
      end
      stop()
    end))
  end

  it("ws passes on the end of one direction alone", helpers.task(function()
    local near = chain "ws"
    local address, stop = server.accept(function(s)
      local size = 0
      repeat
        local bytes = s:read()
        size = size + #(bytes or "")
      until not bytes
      s:write(("%d bytes"):format(size))
      s:close()
    end)
    local s = assert(tunnel(near, address))
    s:write(("x"):rep(300000))
    s:shutdown()
    assert.equal("300000 bytes", s:read_exact(12))
    local _, err = s:read()
    assert.equal("eof", err.code)
    s:close()
    stop()
  end))

  it("ws takes its settings: path, headers, compression, pings", helpers.task(function()
    local address, stop = server.echo()
    local near = chain("ws", "?path=/secret/&enableCompression=true",
      "?path=/secret/a%20r%C3%B6om%3F&enableCompression=true&host=example.org&keepalive=true&ttl=1")
    local s = assert(tunnel(near, address))
    local data = ("tide and gate "):rep(10000)
    local writing = helpers.spawn(s.write, s, data)
    assert.is_true(s:read_exact(#data) == data)
    writing()
    s:close()
    stop()
  end))

  it("ws answers like gost who asks for something else", helpers.task(function()
    local p = proxy.start { "-L", "socks5+ws://127.0.0.1:0?path=/there" }
    local answer = get(p:port(1), "GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.matches("^HTTP/1.1 404 Not Found\r\n", answer)
    assert.matches("\r\n\r\n404 page not found\n$", answer)
    answer = get(p:port(1), "GET /there HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.matches("^HTTP/1.1 400 Bad Request\r\n", answer)
    assert.matches("\r\nSec%-Websocket%-Version: 13\r\n", answer)
    answer = get(p:port(1), "GET /x/../there?y HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.matches("^HTTP/1.1 307 Temporary Redirect\r\nContent%-Type: text/html; charset=utf%-8\r\n", answer)
    assert.matches("\r\nLocation: /there%?y\r\nDate: ", answer)
    answer = get(p:port(1), "\22\3\1\2\0garbage\r\n\r\n")
    assert.matches("^HTTP/1.1 400 Bad Request\r\n", answer)
    p:logged "answered 404"
  end))

  it("says that the two ends do not fit", helpers.task(function()
    local near = chain("ws", "?path=/a", "?path=/b")
    local s = tunnel(near, "127.0.0.1:1")
    assert.is_nil(s)
    near:logged "the server answers 404 Not Found; path or host may differ"
  end))

  it("takes the client's address from a proxy in front", helpers.task(function()
    local p = proxy.start { "-L", "socks5+ws://127.0.0.1:0" }
    get(p:port(1), "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" ..
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" ..
      "X-Forwarded-For: 192.0.2.77, 10.0.0.1\r\n\r\n\136\128\0\0\0\0")
    p:logged("192.0.2.77", true)
  end))

  it("goes on over a new session when the old one breaks", helpers.task(function()
    local address, stop = server.echo()
    local port = programs.free_port()
    local function start()
      return proxy.start { "-L", "socks5+mtls://127.0.0.1:" .. port }
    end
    local far = start()
    local near = proxy.start { "-L", "socks5://127.0.0.1:0", "-F", "socks5+mtls://127.0.0.1:" .. port }
    local s = assert(tunnel(near, address))
    far:stop()
    assert.is_nil(s:read())
    s:close()
    far = start()
    for _ = 1, 4 do -- both workers of the near one
      s = assert(tunnel(near, address))
      s:write "again"
      assert.equal("again", s:read_exact(5))
      s:close()
    end
    stop()
  end))
end)
