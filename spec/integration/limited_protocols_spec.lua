-- Limits hold whatever a service speaks, and change no byte.

local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local SIZE = 2500000
local RATE = 2 * 1024 * 1024 -- as "2MB"; the burst is as much

local open = {}

-- A server that calls serve(stream) for each connection.  @return address
local function server(serve)
  local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
  local acceptor = assert(listener.accept(fds[1], serve))
  open[#open + 1] = function()
    acceptor:close()
    listener.close_fd(fds[1])
  end
  return listener.address(fds[1])
end

-- Bytes of which no two stretches are alike.
local function pattern(size)
  local parts, n = {}, 0
  for i = 1, math.ceil(size / 8) do
    n = (n * 1103515245 + 12345 + i) % 2147483648
    parts[i] = ("%08x"):format(n)
  end
  return table.concat(parts):sub(1, size)
end

local DATA = pattern(SIZE)

-- An origin: GET delivers the pattern, PUT says whether it got it.
local function origin()
  return server(function(s)
    local head = s:read_until("\r\n\r\n", 65536)
    if head and head:find "^GET" then
      s:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"):format(SIZE), DATA)
    elseif head then
      local good = s:read_exact(SIZE) == DATA
      s:write(("HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"):format(good and 204 or 500))
    end
    s:close()
  end)
end

-- Run curl.  @return its status word, bytes it got, ms
local function curl(...)
  local folder = programs.folder()
  local began = task.now()
  local result = programs.run("curl", {
    "-sS", "-k", "-o", folder .. "/out", "-w", "%{http_code}", "--max-time", "20", ...,
  }, { seconds = 30 })
  local file = io.open(folder .. "/out", "rb")
  local body = file and file:read "*a" or ""
  if file then
    file:close()
  end
  return result.stdout, body, task.now() - began, result.stderr
end

-- What has to take its time: SIZE bytes less a burst.
local FLOOR = (SIZE - RATE) / RATE * 1000 * 0.97

local function upload_file()
  return programs.file(programs.folder(), "data", DATA)
end

local KINDS = {
  { "a forward", "tcp://127.0.0.1:0/%s?", function(p, _)
    return { ("http://127.0.0.1:%d/"):format(p:port(1)) }
  end },
  { "an HTTP proxy", "http://127.0.0.1:0?", function(p, target)
    return { "-x", ("http://127.0.0.1:%d"):format(p:port(1)), "http://" .. target .. "/" }
  end },
  { "an HTTP tunnel", "http://127.0.0.1:0?", function(p, target)
    return { "-p", "-x", ("http://127.0.0.1:%d"):format(p:port(1)), "http://" .. target .. "/" }
  end },
  { "a SOCKS5 proxy", "socks5://127.0.0.1:0?", function(p, target)
    return { "-x", ("socks5h://127.0.0.1:%d"):format(p:port(1)), "http://" .. target .. "/" }
  end },
  { "an HTTPS proxy", "http+tls://127.0.0.1:0?", function(p, target)
    return { "--proxy-insecure", "-p", "-x", ("https://127.0.0.1:%d"):format(p:port(1)), "http://" .. target .. "/" }
  end },
}

describe("limits of", function()
  after_each(function()
    proxy.stop_all()
    for _, close in ipairs(open) do
      close()
    end
    open = {}
  end)

  for i, kind in ipairs(KINDS) do
    for _, level in ipairs { "limiter.", i == 1 and "limiter.conn." or nil } do
      it(kind[1] .. " hold for downloads and uploads: " .. level, helpers.task(function()
        local target = origin()
        local url = kind[2]:format(target) .. level .. "in=2MB&" .. level .. "out=2MB"
        local p = proxy.start { "-L", url }
        local args = kind[3](p, target)
        local code, body, took, err = curl(unpack(args))
        assert.equal("200", code, err)
        assert.is_true(body == DATA)
        assert.is_true(took >= FLOOR, took)
        p:stop()
        p = proxy.start { "-L", url }
        args = kind[3](p, target)
        args[#args + 1], args[#args + 2] = "-T", upload_file()
        code, _, took, err = curl(unpack(args))
        assert.equal("204", code, err)
        assert.is_true(took >= FLOOR, took)
      end))
    end
  end

  it("a UDP forward make datagrams wait", helpers.task(function()
    local sink = assert(packet.udp { at = "127.0.0.1:0" })
    local p = proxy.start { "-L", "udp://127.0.0.1:0/" .. sink:local_address() .. "?keepalive=true&limiter.in=10KB" }
    local client = assert(packet.udp { connect = "127.0.0.1:" .. p:port(1) })
    local began = task.now()
    for i = 1, 15 do
      client:send(("%02d"):format(i) .. ("x"):rep(1022))
    end
    for i = 1, 15 do
      assert.equal(("%02d"):format(i), sink:recv():sub(1, 2))
    end
    assert.is_true(task.now() - began >= 450, task.now() - began) -- 5 KB beyond the burst
    client:close()
    sink:close()
  end))

  it("a UDP forward bound the sessions", helpers.task(function()
    local sink = assert(packet.udp { at = "127.0.0.1:0" })
    local p = proxy.start { "-L", "udp://127.0.0.1:0/" .. sink:local_address() .. "?keepalive=true&climiter=3" }
    local clients, seen = {}, {}
    for i = 1, 10 do
      clients[i] = assert(packet.udp { connect = "127.0.0.1:" .. p:port(1) })
      clients[i]:send("client " .. i)
    end
    sink:set_deadline(task.now() + 10000)
    local bytes = sink:recv()
    while bytes do
      seen[#seen + 1] = bytes
      if #seen >= 3 then
        sink:set_deadline(task.now() + 500)
      end
      bytes = sink:recv()
    end
    assert.equal(3, #seen)
    for _, client in ipairs(clients) do
      client:close()
    end
    sink:close()
  end))

  it("a SOCKS5 association hold for its datagrams", helpers.task(function()
    local sink = assert(packet.udp { at = "127.0.0.1:0" })
    local p = proxy.start { "-L", "socks5://127.0.0.1:0?udp=true&limiter.in=10KB" }
    local control = assert(stream.dial("127.0.0.1:" .. p:port(1)))
    control:write "\5\1\0"
    assert.equal("\5\0", control:read_exact(2))
    control:write "\5\3\0\1\0\0\0\0\0\0"
    local reply = control:read_exact(10)
    assert.equal(0, reply:byte(2))
    local port = reply:byte(9) * 256 + reply:byte(10)
    local client = assert(packet.udp { connect = "127.0.0.1:" .. port })
    local sink_port = tonumber(sink:local_address():match ":(%d+)$")
    local head = "\0\0\0\1\127\0\0\1" .. string.char(math.floor(sink_port / 256), sink_port % 256)
    local began = task.now()
    for _ = 1, 15 do
      client:send(head .. ("x"):rep(1024))
    end
    for _ = 1, 15 do
      assert.equal(1024, #sink:recv())
    end
    assert.is_true(task.now() - began >= 450, task.now() - began)
    control:close()
    client:close()
    sink:close()
  end))
end)
