-- Handlers that look into their tunnels: what is recorded, what is refused, what is intercepted.

local cjson = require "cjson"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "spec.helpers.tls"

local LIMIT_MS = 20000

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a" or ""
  if file then
    file:close()
  end
  return text
end

local CONFIG = [[
services:
- name: sniffer
  addr: 127.0.0.1:0
  bypass: names
  handler: {type: %s, metadata: {sniffing: true%s}}
  listener: {type: tcp}
  recorders: [{name: file, record: recorder.service.handler, metadata: {http.body: true}}]
bypasses:
- {name: names, matchers: ["forbidden.example", "*.forbidden.example"]}
- {name: secret, matchers: ["localhost"]}
recorders: [{name: file, file: {path: %s, sep: "\n"}}]
]]

describe("sniffing", function()
  local nginx, authority

  setup(helpers.task(function()
    nginx = origin.nginx()
    authority = tls.authority "Interceptor"
  end))
  teardown(helpers.task(programs.stop_all))
  after_each(helpers.task(function()
    proxy.stop_all()
    plane.cleanup()
  end))

  -- @return tidegate, function(n) → its first n records
  local function start(kind, more)
    local folder = programs.folder()
    local log = folder .. "/records"
    local config = programs.file(folder, "c.yml", CONFIG:format(kind, more or "", log))
    local p = proxy.start({ "-C", config }, { services = 1, env = { SSL_CERT_FILE = nginx.folder .. "/cert.pem" } })
    return p, function(count)
      local list
      helpers.eventually(function()
        list = {}
        for line in read(log):gmatch "[^\n]+" do
          list[#list + 1] = cjson.decode(line)
        end
        return #list >= count
      end, "no records")
      return list
    end
  end

  local function curl(...)
    local result = programs.run("curl", { "-sS", "-m", "20", ... }, { seconds = 40 })
    return result.stdout, result
  end

  local SCHEMES = { socks5 = "socks5h", socks4 = "socks4a", http = "http" }

  for kind, scheme in pairs(SCHEMES) do
    it("records requests of HTTP in a tunnel of " .. kind, helpers.task(function()
      local p, records = start(kind)
      local via = ("%s://127.0.0.1:%d"):format(scheme, p:port(1))
      local url = ("http://localhost:%d"):format(nginx.http)
      local out = curl("-p", "-x", via, url .. "/whoami", url .. "/hello.html", "-d", "x=1")
      assert.match("HTTP/1.1 localhost", out, 1, true)
      local list = records(2)
      assert.same({ "http", "/whoami", "POST" }, { list[1].proto, list[1].http.uri, list[1].http.method })
      assert.same("/hello.html", list[2].http.uri)
      assert.same(list[1].sid, list[2].sid)
    end))

    it("passes TLS through and records its hellos once, " .. kind, helpers.task(function()
      local p, records = start(kind)
      local via = ("%s://127.0.0.1:%d"):format(scheme, p:port(1))
      local out = curl("--cacert", nginx.folder .. "/cert.pem", "-p", "-x", via,
        ("https://localhost:%d/whoami"):format(nginx.https))
      assert.match("HTTP/2.0 localhost", out, 1, true)
      local list = records(1)
      assert.same(1, #list)
      assert.same("localhost", list[1].tls.serverName)
      assert.match("^TLS_", list[1].tls.cipherSuite)
      assert.match("^16030", list[1].tls.clientHello)
      assert.match("^16030", list[1].tls.serverHello)
      assert.same("localhost:" .. nginx.https, list[1].host)
    end))
  end

  for _, version in ipairs { "--http1.1", "--http2" } do
    it("intercepts TLS with an authority of ours, curl " .. version, helpers.task(function()
      local p, records = start("http", (", mitm.certFile: %s, mitm.keyFile: %s"):format(authority.cert, authority.key))
      local url = ("https://localhost:%d"):format(nginx.https)
      local out, result = curl(version, "--cacert", authority.cert, "-x", "http://127.0.0.1:" .. p:port(1), "-p",
        url .. "/whoami", url .. "/hello.html")
      local same = version == "--http2" and "HTTP/2.0" or "HTTP/1.1"
      assert.match(same .. " localhost\n.*hello from the origin", out, 1, false, result.stderr)
      local list = records(2)
      assert.same({ 200, "localhost:" .. nginx.https }, { list[1].http.statusCode, list[1].host })
      assert.same({ "localhost", "tls1.3", version == "--http2" and "h2" or "http/1.1" },
        { list[1].tls.serverName, list[1].tls.version, list[1].tls.proto })
      assert.match("^TLS_", list[1].tls.cipherSuite)
    end))
  end

  it("does not intercept what the bypass of mitm names", helpers.task(function()
    local p = start("http", (", mitm.certFile: %s, mitm.keyFile: %s, mitm.bypass: secret"):format(
      authority.cert, authority.key))
    local out = curl("--cacert", nginx.folder .. "/cert.pem", "-p", "-x", "http://127.0.0.1:" .. p:port(1),
      ("https://localhost:%d/whoami"):format(nginx.https))
    assert.match("HTTP/2.0 localhost", out, 1, true)
  end))

  it("refuses to intercept for a server whose certificate is no good", helpers.task(function()
    local folder = programs.folder()
    local config = programs.file(folder, "c.yml", CONFIG:format("http",
      (", mitm.certFile: %s, mitm.keyFile: %s"):format(authority.cert, authority.key), folder .. "/r"))
    local p = proxy.start({ "-C", config }, { services = 1 })
    local _, result = curl("--cacert", authority.cert, "-p", "-x", "http://127.0.0.1:" .. p:port(1),
      ("https://localhost:%d/whoami"):format(nginx.https))
    assert.not_same(0, result.code)
    p:logged "TLS of localhost"
  end))

  it("asks the bypass for the names inside the tunnel", helpers.task(function()
    local p = start "socks5"
    local via = "socks5h://127.0.0.1:" .. p:port(1)
    local url = ("http://127.0.0.1:%d/whoami"):format(nginx.http)
    assert.match("HTTP/1.1 ok.example", (curl("-x", via, "-H", "Host: ok.example", url)), 1, true)
    local status = curl("-x", via, "-H", "Host: www.forbidden.example", "-o", "/dev/null", "-w", "%{http_code}", url)
    assert.same("403", status)
    local _, result = curl("-k", "-x", via, "--connect-to", "forbidden.example::127.0.0.1:" .. nginx.https,
      "https://forbidden.example/")
    assert.not_same(0, result.code)
  end))

  it("is what sni does as soon as somebody wants to know", helpers.task(function()
    local p, records = start "sni"
    local web = ("localhost:%d"):format(nginx.http)
    local function through(host)
      return curl("-H", "Host: " .. host, ("http://127.0.0.1:%d/whoami"):format(p:port(1)))
    end
    assert.match("HTTP/1.1 localhost", through(web), 1, true)
    assert.same("/whoami", records(1)[1].http.uri)
    assert.same("", (curl("-f", "-H", "Host: www.forbidden.example", ("http://127.0.0.1:%d/"):format(p:port(1)))))
    -- one connection, two hosts: each is asked for, and each is gone to
    local other = plane.accept(function(s)
      s:read_until("\r\n\r\n", 4096)
      s:write "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
      s:read()
    end)
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
    s:set_deadline(task.now() + LIMIT_MS)
    s:write(("GET /whoami HTTP/1.1\r\nHost: %s\r\n\r\nGET / HTTP/1.1\r\nHost: %s\r\n\r\n"):format(web, other))
    assert.truthy(s:read_until("localhost\n", 4096))
    assert.truthy(s:read_until("other", 4096))
    s:write "GET / HTTP/1.1\r\nHost: forbidden.example\r\nConnection: close\r\n\r\n"
    assert.truthy(s:read_until("403 Forbidden", 4096))
    s:close()
    -- who speaks something else hears nothing
    s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
    s:set_deadline(task.now() + LIMIT_MS)
    s:write "SSH-2.0-none\r\n"
    assert.same("eof", select(2, s:read()).code)
    s:close()
  end))

  it("cuts whoever sends hellos and requests that are none, and serves the others", helpers.task(function()
    local p = start "socks5"
    local function tunnel(bytes)
      local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
      s:set_deadline(task.now() + LIMIT_MS)
      s:write("\5\1\0")
      s:read_exact(2)
      s:write("\5\1\0\1\127\0\0\1" .. string.char(math.floor(nginx.http / 256), nginx.http % 256))
      s:read_exact(10)
      s:write(bytes)
      local answer = s:read()
      s:close()
      return answer
    end
    local name = ("a"):rep(300)
    local list = "\0\1\44" .. name
    local extension = "\0\0" .. "\1\49" .. "\1\47" .. list
    local body = "\3\3" .. ("r"):rep(32) .. "\0" .. "\0\2\19\1" .. "\1\0" .. "\1\53" .. extension
    local size = #body
    local message = "\1\0" .. string.char(math.floor(size / 256), size % 256) .. body
    local huge = "\22\3\1" .. string.char(math.floor(#message / 256), #message % 256) .. message
    assert.is_nil(tunnel(huge))
    assert.is_nil(tunnel("\22\3\1\0\4\1\255\255\255" .. ("\22\3\1\64\0" .. ("x"):rep(16384)):rep(5)))
    assert.match("^HTTP/1.1 400", tunnel "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert.match("^HTTP/1.1 431", tunnel("GET / HTTP/1.1\r\nX: " .. ("a"):rep(70000) .. "\r\n\r\n"))
    assert.match("^HTTP/1.1 200", tunnel "GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n")
    p:logged "client hello"
  end))

  it("gets out of the way of servers that speak first", helpers.task(function()
    local address = plane.accept(function(s)
      s:write "220 ready\r\n"
      local line = s:read_until("\r\n", 100)
      s:write("got " .. line)
      s:shutdown()
    end)
    local p = start "socks5"
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
    s:set_deadline(task.now() + LIMIT_MS)
    local host, port = address:match "^(.*):(%d+)$"
    assert.same("127.0.0.1", host)
    port = tonumber(port)
    s:write("\5\1\0")
    assert.same("\5\0", s:read_exact(2))
    s:write("\5\1\0\1\127\0\0\1" .. string.char(math.floor(port / 256), port % 256))
    s:read_exact(10)
    assert.same("220 ready\r\n", s:read_exact(11))
    s:write "HELO me\r\n"
    assert.same("got HELO me\r\n", s:read_exact(13))
    s:close()
  end))
end)
