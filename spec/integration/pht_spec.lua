-- The plain HTTP tunnel: whole proxies over it, and what strangers are told.

local base64 = require "tidegate.net.http.base64"
local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local native = require "tidegate.native.tls"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "tidegate.tls"

local BLOCK = ("0123456789abcdef"):rep(32768) -- 512 KiB

local function connect(port)
  local s = assert(stream.dial("127.0.0.1:" .. port))
  s:set_deadline(task.now() + 15000)
  return s
end

-- One request on a connection of its own.  @return status, body
local function ask(port, method, target, body)
  local s = connect(port)
  s:write(("%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(
    method, target, #(body or ""), body or ""))
  local answer = ""
  repeat
    local bytes = s:read()
    answer = answer .. (bytes or "")
  until not bytes
  s:close()
  return tonumber(answer:match "^HTTP/1.1 (%d+)"), answer:match "\r\n\r\n(.*)$"
end

describe("pht", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  for _, transport in ipairs { "pht", "phts" } do
    it(transport .. " carries much, both ways, many at once", helpers.task(function()
      local address, stop = server.echo()
      local far = proxy.start { "-L", ("relay+%s://127.0.0.1:0"):format(transport) }
      local near = proxy.start { "-L", "tcp://127.0.0.1:0/" .. address, "-F",
        ("relay+%s://127.0.0.1:%d"):format(transport, far:port(1)) }
      local done = {}
      for i = 1, 10 do
        done[i] = helpers.spawn(function()
          local s = connect(near:port(1))
          local data = i == 1 and BLOCK or "stream " .. i
          local writing = helpers.spawn(s.write, s, data)
          assert.is_true(s:read_exact(#data) == data)
          assert.is_true(writing())
          s:close()
        end)
      end
      for i = 1, 10 do
        done[i]()
      end
      stop()
    end))
  end

  it("speaks as gost does, whoever asks", helpers.task(function()
    local address, stop = server.echo()
    local p = proxy.start { "-L", ("forward+pht://127.0.0.1:0/%s"):format(address) }
    local port = p:port(1)
    local status, body = ask(port, "GET", "/authorize")
    assert.equal(200, status)
    local token = body:match "^token=(%w+)$"
    assert.equal(200, (ask(port, "POST", "/push?token=" .. token, "aGVsbG8=\nignored\n")))
    local s = connect(port)
    s:write(("GET /pull?token=%s HTTP/1.1\r\nHost: a\r\n\r\n"):format(token))
    assert.truthy(s:read_until("\r\n\r\n", 4096):find "^HTTP/1.1 200 .*X%-Accel%-Buffering: no\r\n")
    assert.equal("9\r\naGVsbG8=\n\r\n", s:read_exact(14))
    assert.equal(200, (ask(port, "POST", "/push?token=ghost00000000000000", base64.encode "x" .. "\n")))
    assert.equal(200, (ask(port, "POST", "/push?token=ghost00000000000000")))
    for _, one in ipairs {
      { "GET", "/push?token=" .. token, 400 }, { "POST", "/pull?token=" .. token, 400 },
      { "POST", "/push?token=" .. token, 400, "???\n" }, { "POST", "/push", 403, "aGVsbG8=\n" },
      { "GET", "/pull", 403 }, { "GET", "/", 404 },
    } do
      assert.equal(one[3], (ask(port, one[1], one[2], one[4])), one[2])
    end
    assert.equal(200, (ask(port, "POST", "/push?token=" .. token))) -- the end
    s:read()
    assert.equal(410, (ask(port, "POST", "/push?token=" .. token, "aGVsbG8=\n")))
    assert.equal(403, (ask(port, "GET", "/pull?token=" .. token)))
    s:close()
    stop()
  end))

  it("passes ends on, both kinds", helpers.task(function()
    server.check_ends(function(where)
      local far = proxy.start { "-L", "relay+pht://127.0.0.1:0" }
      local near = proxy.start { "-L", "tcp://127.0.0.1:0/" .. where, "-F", "relay+pht://127.0.0.1:" .. far:port(1) }
      return connect(near:port(1))
    end)
  end))

  it("ends what belongs to a client that is gone, unless it comes back", helpers.task(function()
    local ended = task.waiter()
    local address, stop = server.accept(function(s)
      s:write "hello"
      repeat
        local bytes = s:read()
      until not bytes
      s:close()
      ended:wake(true)
    end)
    local p = proxy.start { "-L", ("forward+pht://127.0.0.1:0/%s"):format(address) }
    local _, body = ask(p:port(1), "GET", "/authorize")
    local request = ("GET /pull?%s HTTP/1.1\r\nHost: a\r\n\r\n"):format(body)
    local first = connect(p:port(1))
    first:write(request)
    assert.truthy(first:read_until("\n\r\n", 4096))
    first:close()
    local second = connect(p:port(1))
    second:write(request)
    assert.is_nil(ended:wait(task.now() + 1500))
    second:close()
    assert.is_true(ended:wait(task.now() + 20000)) -- a silent tunnel would have a minute
    stop()
  end))

  it("asks as gost's client does, with the header that is configured", helpers.task(function()
    local seen
    local address, stop = server.accept(function(s)
      seen = s:read_until("\r\n\r\n", 4096)
      s:close()
    end)
    local port = address:match "%d+$"
    local near = proxy.start({ "-C", programs.file(programs.folder(), "gate.yml", ([[
services: [{name: s, addr: "127.0.0.1:0", handler: {type: tcp, chain: c}, listener: {type: tcp},
  forwarder: {nodes: [{name: t, addr: "127.0.0.1:1"}]}}]
chains: [{name: c, hops: [{name: h, nodes: [{name: n, addr: "%s", connector: {type: relay},
  dialer: {type: pht, metadata: {header: {host: cover.example, x-colour: blue}}}}]}]}]
]]):format(address)) }, { services = 1 })
    local s = connect(near:port(1))
    s:write "x"
    s:read()
    assert.equal(("GET /authorize HTTP/1.1\r\nHost: cover.example:%s\r\nUser-Agent: Go-http-client/1.1\r\n"
      .. "X-Colour: blue\r\n\r\n"):format(port), seen)
    s:close()
    stop()
  end))

  it("agrees on HTTP/1.1 whatever its protocols are", helpers.task(function()
    local p = proxy.start({ "-C", programs.file(programs.folder(), "gate.yml", [[
services: [{name: s, addr: "127.0.0.1:0", handler: {type: socks5},
  listener: {type: phts, tls: {options: {alpn: [h2, http/1.1]}}}}]
]]) }, { services = 1 })
    local s = assert(tls.connect(connect(p:port(1)), { options = { alpn = { "h2", "http/1.1" } } }, "a"))
    assert.equal("http/1.1", native.info(s).alpn)
    s:close()
  end))

  it("says which side is wrong", helpers.task(function()
    local far = proxy.start { "-L", "file://127.0.0.1:0" }
    local near = proxy.start { "-L", "socks5://127.0.0.1:0", "-F", ("socks5+pht://127.0.0.1:%d"):format(far:port(1)) }
    local s = connect(near:port(1))
    s:write "\5\1\0\5\1\0\1\127\0\0\1\0\80"
    s:read_exact(2)
    s:read()
    near:logged("the server answers 404 where a token is asked for", true)
    s:close()
  end))
end)
