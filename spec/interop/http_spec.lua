-- The HTTP handler and connector with programs others wrote: Python's client and server, curl, nginx,
-- tinyproxy and squid.

local client = require "tidegate.net.http.client"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local task = require "tidegate.native.task"

local function python_origin()
  local server = programs.start("python3", { "spec/interop/peers/http_origin.py" }, { ready = "ready %d+" })
  return tonumber(server.stdout:match "ready (%d+)")
end

local function curl(args, seconds)
  return programs.run("curl", { "-sS", "--max-time", "20", "--noproxy", "", unpack(args) },
    { seconds = seconds or 25 })
end

local function squid(port)
  local folder = programs.folder()
  programs.output("chmod", { "a+rwx", folder })
  local config = programs.file(folder, "squid.conf", table.concat({
    "http_port 127.0.0.1:" .. port, "cache deny all", "access_log none", "cache_log /dev/null",
    "pid_filename none", "coredump_dir " .. folder, "http_access allow all", "workers 1",
    "shutdown_lifetime 0 seconds", "pinger_enable off", "",
  }, "\n"))
  programs.start("squid", { "-N", "-f", config }, { port = port })
end

local function tinyproxy(port, auth)
  local config = programs.file(programs.folder(), "tinyproxy.conf", table.concat({
    "Port " .. port, "Listen 127.0.0.1", "Timeout 60", "LogLevel Critical", "MaxClients 100",
    "Allow 127.0.0.1", auth and "BasicAuth user pass" or "", "",
  }, "\n"))
  programs.start("tinyproxy", { "-d", "-c", config }, { port = port })
end

local tinyproxied = programs.have "tinyproxy" and it or pending
local squidded = programs.have "squid" and it or pending

describe("http", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  for _, query in ipairs { "", "?keepalive=true" } do
    it("passes the corners of the protocol between Python's ends" .. query, helpers.task(function()
      local web = python_origin()
      local p = proxy.start { "-L", "http://127.0.0.1:0" .. query }
      local said = programs.output("python3",
        { "spec/interop/peers/http_client.py", tostring(p:port(1)), tostring(web) }, { seconds = 60 })
      assert.matches("done\n$", said)
    end))
  end

  it("passes them through a chain of its own kind", helpers.task(function()
    local web = python_origin()
    local far = proxy.start { "-L", "http://user:pass@127.0.0.1:0" }
    local p = proxy.start { "-L", "http://127.0.0.1:0",
      "-F", ("http://user:pass@127.0.0.1:%d"):format(far:port(1)) }
    local said = programs.output("python3",
      { "spec/interop/peers/http_client.py", tostring(p:port(1)), tostring(web) }, { seconds = 60 })
    assert.matches("done\n$", said)
  end))

  it("has two lines of the log for each request of a connection", helpers.task(function()
    local web = python_origin()
    local p = proxy.start { "-L", "http://127.0.0.1:0" }
    curl { "-x", "http://127.0.0.1:" .. p:port(1), ("http://127.0.0.1:%d/[1-2]"):format(web),
      ("http://localhost:%d/"):format(web) }
    p:logged(">-< localhost:" .. web, true)
    local seen = {}
    for line in p:log():gmatch "[^\n]+" do
      local way, host = line:match "127%.0%.0%.1:%d+ ([<>]%-[<>]) ([%w.]+):%d+\""
      if way then
        seen[#seen + 1] = way .. host
        assert.matches(way == ">-<" and '"outputBytes":[1-9]' or '"host":', line)
      end
    end
    assert.same({
      "<->127.0.0.1", ">-<127.0.0.1", "<->127.0.0.1", ">-<127.0.0.1", "<->localhost", ">-<localhost",
    }, seen)
  end))

  it("shows the origin no trace of the proxy", helpers.task(function()
    local web = python_origin()
    local p = proxy.start { "-L", "http://user:pass@127.0.0.1:0" }
    local seen = curl { "-x", ("http://user:pass@127.0.0.1:%d"):format(p:port(1)),
      ("http://127.0.0.1:%d/head"):format(web) }.stdout
    assert.matches("^GET /head HTTP/1.1\r\nHost: 127.0.0.1:%d+\nUser%-Agent: curl/", seen)
    assert.is_nil(seen:lower():find("proxy", 1, true))
    assert.is_nil(seen:lower():find("via", 1, true))
  end))

  it("turns curl away without the password, for requests and tunnels", helpers.task(function()
    local web = origin.nginx()
    local p = proxy.start { "-L", "http://user:pass@127.0.0.1:0" }
    for _, url in ipairs { "http://127.0.0.1:" .. web.http, "https://127.0.0.1:" .. web.https } do
      local function ask(credentials)
        return curl { "-k", "-o", "/dev/null", "-w", "%{http_code} %{http_connect}",
          "-x", ("http://%s127.0.0.1:%d"):format(credentials, p:port(1)), url .. "/hello.html" }.stdout
      end
      assert.matches("407", ask "")
      assert.matches("407", ask "user:wrong@")
      assert.matches("^200", ask "user:pass@")
    end
  end))

  it("speaks HTTP/1.0 with curl", helpers.task(function()
    local web = origin.nginx()
    local p = proxy.start { "-L", "http://127.0.0.1:0" }
    local got = curl { "-0", "-i", "-x", "http://127.0.0.1:" .. p:port(1),
      ("http://127.0.0.1:%d/whoami"):format(web.http) }.stdout
    assert.matches("^HTTP/1.0 200 OK\r\n", got)
    assert.matches("HTTP/1.1 127.0.0.1\n$", got)
  end))

  it("keeps curl's connection for many requests", helpers.task(function()
    local web = origin.nginx()
    local p = proxy.start { "-L", "http://127.0.0.1:0" }
    local url = ("http://127.0.0.1:%d/whoami?[1-20]"):format(web.http)
    local got = curl { "-x", "http://127.0.0.1:" .. p:port(1), "-w", "%{num_connects}\n", url }.stdout
    local _, good = got:gsub("HTTP/1.1 127.0.0.1\n", "")
    assert.equal(20, good)
    local _, fresh = got:gsub("\n1\n", "")
    assert.equal(1, fresh)
  end))

  it("asks curl's large upload to continue", helpers.task(function()
    local web = origin.nginx()
    local p = proxy.start { "-L", "http://127.0.0.1:0" }
    local file = programs.file(web.folder, "upload", ("0123456789"):rep(500000))
    local got = curl { "-v", "-x", "http://127.0.0.1:" .. p:port(1), "-T", file,
      "-H", "Expect: 100-continue", ("http://127.0.0.1:%d/up/file"):format(web.http) }
    assert.matches("< HTTP/1.1 100 Continue", got.stderr, 1, true)
    assert.matches("< HTTP/1.1 201 Created", got.stderr, 1, true)
    assert.equal("", programs.output("cmp", { file, web.www .. "/up/file" }))
  end))

  it("hides behind a web page", helpers.task(function()
    local web = origin.nginx()
    local p = proxy.start { "-L", ("http://user:pass@127.0.0.1:0?knock=secret.example&probeResist=web:"
      .. "http://127.0.0.1:%d/hello.html"):format(web.http) }
    local function ask(url)
      return curl { "-i", "-x", "http://127.0.0.1:" .. p:port(1), url }.stdout
    end
    local page = ask "http://example.com/"
    assert.matches("^HTTP/1.1 200 OK\r\n", page)
    assert.matches("hello from the origin", page, 1, true)
    assert.matches("^HTTP/1.1 407 ", ask "http://secret.example/")
  end))

  it("fetches over TLS itself, and looks at the certificate", helpers.task(function()
    local web = origin.nginx()
    local url = ("https://127.0.0.1:%d/whoami"):format(web.https)
    local deadline = task.now() + 10000
    local response = assert(client.request { url = url, deadline = deadline, tls = { secure = false } })
    assert.equal("HTTP/1.1 127.0.0.1\n", response:read())
    response:close()
    local trusted = { secure = true, caFile = web.folder .. "/cert.pem" }
    response = assert(client.request { url = url, deadline = deadline, tls = trusted })
    assert.equal(200, response.status)
    response:close()
    local none, err = client.request { url = url, deadline = deadline }
    assert.is_nil(none)
    assert.equal("tls", err.code)
  end))

  it("carries datagrams, to names as well", helpers.task(function()
    local dns = origin.dnsmasq()
    local far = proxy.start { "-L", "http://user:pass@127.0.0.1:0?udp=true" }
    local node = ("http://user:pass@127.0.0.1:%d"):format(far:port(1))
    for _, host in ipairs { "127.0.0.1", "localhost" } do
      local p = proxy.start { "-L", ("udp://127.0.0.1:0/%s:%d"):format(host, dns), "-F", node }
      assert.equal("192.0.2.33\n", programs.output("dig", { "@127.0.0.1", "-p", tostring(p:port(1)),
        "+short", "+time=3", "+tries=2", "tidegate.test" }))
      p:stop()
    end
  end))

  it("carries no datagrams unless allowed", helpers.task(function()
    local far = proxy.start { "-L", "http://127.0.0.1:0" }
    local p = proxy.start { "-L", "udp://127.0.0.1:0/127.0.0.1:9", "-F",
      ("http://127.0.0.1:%d"):format(far:port(1)) }
    programs.run("dig", { "@127.0.0.1", "-p", tostring(p:port(1)), "+time=1", "+tries=1", "x.test" })
    p:logged("the proxy says 403 Forbidden", true)
  end))

  tinyproxied("chains to tinyproxy, with and without a password", helpers.task(function()
    local web, plain, closed = origin.nginx(), programs.free_port(), programs.free_port()
    tinyproxy(plain)
    tinyproxy(closed, true)
    for credentials, port in pairs { [""] = plain, ["user:pass@"] = closed } do
      local p = proxy.start { "-L", "http://127.0.0.1:0",
        "-F", ("http://%s127.0.0.1:%d"):format(credentials, port) }
      for _, url in ipairs { "http://127.0.0.1:" .. web.http, "https://127.0.0.1:" .. web.https } do
        assert.matches("127.0.0.1\n$", curl { "-k", "-x", "http://127.0.0.1:" .. p:port(1),
          url .. "/whoami" }.stdout)
      end
    end
    local p = proxy.start { "-L", "http://127.0.0.1:0", "-F", "http://u:x@127.0.0.1:" .. closed }
    assert.equal("503", curl { "-o", "/dev/null", "-w", "%{http_code}",
      "-x", "http://127.0.0.1:" .. p:port(1), "http://127.0.0.1:" .. web.http }.stdout)
    p:logged "the proxy says 40[17]"
  end))

  tinyproxied("serves tinyproxy as its upstream", helpers.task(function()
    local web, port = origin.nginx(), programs.free_port()
    local p = proxy.start { "-L", "http://127.0.0.1:0" }
    local config = programs.file(programs.folder(), "tinyproxy.conf", table.concat({
      "Port " .. port, "Listen 127.0.0.1", "Timeout 60", "LogLevel Critical", "MaxClients 100",
      "Allow 127.0.0.1", "Upstream http 127.0.0.1:" .. p:port(1), "",
    }, "\n"))
    programs.start("tinyproxy", { "-d", "-c", config }, { port = port })
    for _, url in ipairs { "http://127.0.0.1:" .. web.http, "https://127.0.0.1:" .. web.https } do
      assert.matches("127.0.0.1\n$", curl { "-k", "-x", "http://127.0.0.1:" .. port,
        url .. "/whoami" }.stdout)
    end
  end))

  squidded("chains to squid", helpers.task(function()
    local web, port = origin.nginx(), programs.free_port()
    squid(port)
    local p = proxy.start { "-L", "http://127.0.0.1:0", "-F", "http://127.0.0.1:" .. port }
    -- squid lets CONNECT reach its safe port alone unless told otherwise: "http_access allow all" does
    for _, url in ipairs { "http://127.0.0.1:" .. web.http, "https://127.0.0.1:" .. web.https } do
      assert.matches("127.0.0.1\n$", curl { "-k", "-x", "http://127.0.0.1:" .. p:port(1),
        url .. "/whoami" }.stdout)
    end
  end))
end)
