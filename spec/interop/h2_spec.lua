-- The transports over HTTP/2, among themselves and against programs others wrote.
-- spec: timeout=300

local fixture = require "spec.helpers.tls"
local files = require "spec.helpers.files"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local socks = require "spec.helpers.socks"

local PYTHON = "/usr/bin/python3"
local curl = origin.curl

local KINDS = {
  { "socks5+h2://127.0.0.1:0", "socks5+h2://127.0.0.1:%d" },
  { "relay+h2://127.0.0.1:0?path=/a/b", "relay+h2://127.0.0.1:%d?path=/a/b&host=example.com" },
  { "socks5+h2c://u:p@127.0.0.1:0", "socks5+h2c://u:p@127.0.0.1:%d" },
  { "relay+h2c://127.0.0.1:0?path=/x", "relay+h2c://127.0.0.1:%d?path=/x" },
  { "socks5+grpc://127.0.0.1:0", "socks5+grpc://127.0.0.1:%d" },
  { "http+grpc://127.0.0.1:0?grpc.insecure=true&path=/s/m/x",
    "http+grpc://127.0.0.1:%d?grpcInsecure=true&grpc.path=s/m-x&keepalive=true" },
  { "http2://u:p@127.0.0.1:0", "http2://u:p@127.0.0.1:%d" },
}

local function requests(port, list)
  local args = { "spec/interop/peers/h2_client.py", tostring(port) }
  local json = require "cjson"
  for _, item in ipairs(list) do
    args[#args + 1] = json.encode(item)
  end
  local answers = {}
  for line in programs.output(PYTHON, args, { seconds = 40 }):gmatch "[^\n]+" do
    answers[#answers + 1] = json.decode(line)
  end
  return answers
end

describe("HTTP/2 transports", function()
  local stop

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    if stop then
      stop()
      stop = nil
    end
  end))

  for _, kind in ipairs(KINDS) do
    describe(kind[1], function()
      local function pair()
        local far = proxy.start { "-L", kind[1] }
        return proxy.start { "-L", "socks5://127.0.0.1:0", "-F", kind[2]:format(far:port(1)) }, far
      end

      it("carries much, both ways, and many at once", helpers.task(function()
        local web = origin.nginx()
        local p, far = pair()
        local way = "socks5h://127.0.0.1:" .. p:port(1)
        local big, copy = web.www .. "/big", web.folder .. "/copy"
        local sum = files.random(big, 64)
        curl { "-x", way, "-o", copy, ("http://127.0.0.1:%d/big"):format(web.http) }
        assert.equal(sum, files.md5(copy))
        curl { "-x", way, "-T", big, ("http://127.0.0.1:%d/up/big"):format(web.http) }
        assert.equal(sum, files.md5(web.www .. "/up/big"))
        local waits = {}
        for i = 1, 100 do
          waits[i] = helpers.spawn(function()
            local s = socks.connect(p:port(1), "127.0.0.1:" .. web.http)
            s:write "GET /whoami HTTP/1.0\r\nHost: a\r\n\r\n"
            local head = s:read_until("\r\n\r\n", 4096)
            s:close()
            return head
          end)
        end
        for i = 1, 100 do
          assert.matches("^HTTP/1.1 200", waits[i]())
        end
        assert.is_nil((p:log() .. far:log()):find '"level":"error"')
      end))

      it("passes half-close on, and abrupt ends", helpers.task(function()
        local p = pair()
        server.check_ends(function(where)
          return socks.connect(p:port(1), where)
        end)
      end))

      it("finds a node again that was away", helpers.task(function()
        local web = origin.nginx()
        local port = programs.free_port()
        local listen = kind[1]:gsub(":0", ":" .. port, 1)
        local far = proxy.start { "-L", listen }
        local p = proxy.start { "-L", "socks5://127.0.0.1:0", "-F", kind[2]:format(port) }
        local function get()
          return programs.run("curl", { "-s", "-m", "20", "-x", "socks5h://127.0.0.1:" .. p:port(1),
            ("http://127.0.0.1:%d/whoami"):format(web.http) }).stdout
        end
        assert.equal("HTTP/1.1 127.0.0.1\n", get())
        far:stop "sigkill"
        assert.equal("", get())
        proxy.start { "-L", listen }
        helpers.eventually(function()
          return get() == "HTTP/1.1 127.0.0.1\n"
        end)
      end))
    end)
  end

  it("chain with each other, sessions through sessions", helpers.task(function()
    local web = origin.nginx()
    local far, near = {}, { "-L", "auto://127.0.0.1:0" }
    for _, kind in ipairs(KINDS) do
      far[#far + 1] = "-L"
      far[#far + 1] = kind[1]
    end
    local others = proxy.start(far)
    for i, kind in ipairs(KINDS) do
      near[#near + 1] = "-F"
      near[#near + 1] = kind[2]:format(others:port(i))
    end
    local p = proxy.start(near)
    for _ = 1, 5 do
      assert.equal("HTTP/2.0 localhost\n", curl { "-x", "socks5h://127.0.0.1:" .. p:port(1), "-k",
        ("https://localhost:%d/whoami"):format(web.https) })
    end
  end))

  it("say what does not fit", helpers.task(function()
    local far = proxy.start {
      "-L", "socks5+h2c://127.0.0.1:0", "-L", "socks5+h2c://127.0.0.1:0?path=/right",
      "-L", "socks5+grpc://127.0.0.1:0?path=/right&insecure=true", "-L", "socks5+tls://127.0.0.1:0",
    }
    local function failing(scheme, port, query, text)
      local p = proxy.start { "-L", "socks5://127.0.0.1:0",
        "-F", ("%s://127.0.0.1:%d%s"):format(scheme, port, query) }
      programs.run("curl", { "-s", "-m", "20", "-x", "socks5h://127.0.0.1:" .. p:port(1), "http://127.0.0.1:1/" })
      p:logged(text, true)
      p:stop()
    end
    failing("socks5+h2c", far:port(1), "?path=/x", "the server answers 405")
    failing("socks5+h2c", far:port(2), "?path=/wrong", "the server answers 400")
    failing("socks5+grpc", far:port(3), "?insecure=true&path=/wrong", "UNIMPLEMENTED")
    failing("socks5+h2", far:port(4), "", "does not agree on HTTP/2")
    failing("socks5+h2", far:port(1), "", "the peer does not speak TLS")
    far:logged("path /wrong is not /right", true)
  end))

  describe("http2", function()
    local AUTH = { "proxy-authorization", "Basic dTpw" }

    local function get(web, path, ...)
      return { headers = { { ":method", "GET" }, { ":scheme", "http" },
        { ":authority", "127.0.0.1:" .. web.http }, { ":path", path }, ... } }
    end

    it("serves requests of the h2 library", helpers.task(function()
      local web = origin.nginx()
      local sum = files.random(web.www .. "/big", 8)
      local p = proxy.start { "-L", "http2://u:p@127.0.0.1:0" }
      local put = get(web, "/up/new", AUTH)
      put.headers[1][2] = "PUT"
      put.body, put.times, put.piece = "0123456789", 300000, 7000
      local sized = get(web, "/up/sized", AUTH, { "content-length", "30" })
      sized.headers[1][2] = "PUT"
      sized.body, sized.times = "0123456789", 3
      local head = get(web, "/big", AUTH)
      head.headers[1][2] = "HEAD"
      local connect = { headers = { { ":method", "CONNECT" }, { ":authority", "127.0.0.1:" .. web.http }, AUTH },
        body = "GET /whoami HTTP/1.0\r\nHost: t\r\n\r\n" }
      local refused = { headers = { { ":method", "CONNECT" }, { ":authority", "127.0.0.1:1" }, AUTH } }
      local https = get(web, "/", AUTH)
      https.headers[2][2] = "https"
      local answers = requests(p:port(1), {
        get(web, "/whoami", AUTH), get(web, "/big", AUTH), put, sized, head, connect, refused, https,
        get(web, "/whoami"), get(web, "/whoami", { "proxy-authorization", "Basic eDp5" }),
        get(web, "/headers", AUTH, { "cookie", "a=1" }, { "cookie", "b=2" }),
      })
      local statuses = {}
      for i, answer in ipairs(answers) do
        statuses[i] = answer.status
      end
      assert.same({ "200", "200", "201", "201", "200", "200", "503", "400", "407", "407", "200" }, statuses)
      assert.equal("HTTP/1.1 127.0.0.1\n", answers[1].text)
      assert.equal(sum, answers[2].md5)
      assert.equal("8388608", answers[5].headers["content-length"])
      assert.equal(0, answers[5].length)
      assert.matches("HTTP/1.0 t\n$", answers[6].text)
      assert.equal('Basic realm="gost"', answers[9].headers["proxy-authenticate"])
      assert.is_nil(answers[9].headers["proxy-agent"])
      assert.matches("auth=\n", answers[11].text, 1, true)
      assert.equal(3000000, #fixture.read(web.www .. "/up/new"))
      assert.equal(("0123456789"):rep(3), fixture.read(web.www .. "/up/sized"))
    end))

    it("hides behind a decoy", helpers.task(function()
      local web = origin.nginx()
      local p = proxy.start { "-L",
        "http2://u:p@127.0.0.1:0?probeResist=code:418&knock=secret.test" }
      local function connect(host)
        return { headers = { { ":method", "CONNECT" }, { ":authority", host .. ":443" } } }
      end
      local answers = requests(p:port(1), { get(web, "/"), connect "secret.test", connect "other.test" })
      assert.equal("418", answers[1].status)
      assert.equal("407", answers[2].status)
      assert.equal("418", answers[3].status)
    end))

    it("shows the configured fields, and ends decoys that look like tunnels", helpers.task(function()
      local web = origin.nginx()
      local folder = programs.folder()
      local page = programs.file(folder, "page.html", "nothing here")
      local p = proxy.start({ "-C", programs.file(folder, "c.yml", ([[
services:
- {name: a, addr: "127.0.0.1:0", handler: {type: http2, metadata: {header: {X-Shown: here}}}, listener: {type: http2}}
- name: b
  addr: 127.0.0.1:0
  handler: {type: http2, auth: {username: u}, metadata: {probeResist: "file:%s"}}
  listener: {type: http2}
- name: c
  addr: 127.0.0.1:0
  handler: {type: http2, auth: {username: u}, metadata: {probeResist: "code:none"}}
  listener: {type: http2}
]]):format(page)) }, { services = 3 })
      local function connect(host)
        return { headers = { { ":method", "CONNECT" }, { ":authority", host } }, body = "GET / HTTP/1.0\r\n\r\n" }
      end
      local answers = requests(p:port(1), {
        get(web, "/whoami"), connect("127.0.0.1:" .. web.http), connect "127.9.9.9",
      })
      for i, status in ipairs { "200", "200", "503" } do
        assert.same({ status, "here" }, { answers[i].status, answers[i].headers["x-shown"] })
      end
      p:logged("127.9.9.9:443", true)
      local decoy = requests(p:port(2), { connect "other.test:80" })[1]
      assert.equal("200", decoy.status)
      assert.equal("nothing here", decoy.text)
      assert.equal("407", requests(p:port(3), { connect "other.test:80" })[1].status)
    end))

    it("is a proxy for chromium, and for HTTP/1.1", helpers.task(function()
      local web = origin.nginx()
      local p = proxy.start { "-L", "http2://127.0.0.1:0" }
      local page = programs.run("chromium", {
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--ignore-certificate-errors", "--user-data-dir=" .. programs.folder(),
        ("--proxy-server=https://127.0.0.1:%d"):format(p:port(1)), "--proxy-bypass-list=<-loopback>",
        "--dump-dom", ("https://localhost:%d/hello.html"):format(web.https),
      }, { seconds = 60 })
      assert.matches("hello from the origin", page.stdout, 1, true)
      p:logged("localhost:" .. web.https, true)
      assert.equal("HTTP/1.1 127.0.0.1\n", curl { "--proxy-insecure", "-x", "https://127.0.0.1:" .. p:port(1),
        ("http://127.0.0.1:%d/whoami"):format(web.http) })
      assert.equal("HTTP/2.0 localhost\n", curl { "--proxy-insecure", "-k", "-x",
        "https://127.0.0.1:" .. p:port(1), ("https://localhost:%d/whoami"):format(web.https) })
    end))

    it("goes through nghttpx", helpers.task(function()
      local web = origin.nginx()
      local back, port = proxy.start { "-L", "http://127.0.0.1:0" }, programs.free_port()
      programs.start("nghttpx", {
        "--http2-proxy", ("-f127.0.0.1,%d"):format(port), ("-b127.0.0.1,%d"):format(back:port(1)),
        "--workers=1", "--no-ocsp", "--errorlog-file=/dev/stderr", "--accesslog-file=/dev/null",
        web.folder .. "/key.pem", web.folder .. "/cert.pem",
      }, { port = port })
      local p = proxy.start { "-L", "socks5://127.0.0.1:0", "-F", "http2://127.0.0.1:" .. port }
      for _ = 1, 3 do
        assert.equal("HTTP/2.0 localhost\n", curl { "-x", "socks5h://127.0.0.1:" .. p:port(1), "-k",
          ("https://localhost:%d/whoami"):format(web.https) })
      end
    end))
  end)

  describe("grpc", function()
    for _, secure in ipairs { false, true } do
      it("serves grpcio" .. (secure and " over TLS" or ""), helpers.task(function()
        local where
        where, stop = server.echo()
        local authority = fixture.authority "h2"
        local pair = fixture.certificate(authority, "localhost")
        local p = proxy.start { "-L", ("tcp+grpc://127.0.0.1:0/%s?%s"):format(where, secure
          and ("certFile=%s&keyFile=%s"):format(pair.cert, pair.key) or "grpc.insecure=true") }
        local text = ("0123456789"):rep(100000)
        local args = { "spec/interop/peers/grpc_tunnel.py", tostring(p:port(1)), "/GostTunel/Tunnel" }
        args[4] = secure and authority.cert or nil
        assert.equal(text, programs.output(PYTHON, args, { stdin = text, seconds = 30 }))
        args[3] = "/Other/Tunnel"
        local other = programs.run(PYTHON, args, { stdin = "x", seconds = 30 })
        assert.equal(2, other.code)
        assert.matches("^UNIMPLEMENTED unknown method /Other/Tunnel", other.stderr)
      end))
    end
  end)

  it("goes through haproxy: h2 in front, h2c behind", helpers.task(function()
    local web = origin.nginx()
    local port, folder = programs.free_port(), programs.folder()
    local far = proxy.start { "-L", "socks5+h2c://127.0.0.1:0?path=/tunnel",
      "-L", "socks5+grpc://127.0.0.1:0?grpc.insecure=true" }
    fixture.certificate(fixture.authority "h2", "localhost")
    programs.output("sh", { "-c", ("cat %s/cert.pem %s/key.pem > %s/both.pem"):format(web.folder,
      web.folder, folder) })
    local config = programs.file(folder, "haproxy.cfg", ([[
global
  maxconn 100
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend f
  bind 127.0.0.1:%d ssl crt %s/both.pem alpn h2
  use_backend g if { path /GostTunel/Tunnel }
  default_backend b
backend b
  server s 127.0.0.1:%d proto h2
backend g
  server s 127.0.0.1:%d proto h2
]]):format(port, folder, far:port(1), far:port(2)))
    programs.start("haproxy", { "-db", "-f", config }, { port = port })
    for _, scheme in ipairs { "socks5+h2://127.0.0.1:%d?path=/tunnel", "socks5+grpc://127.0.0.1:%d" } do
      local p = proxy.start { "-L", "socks5://127.0.0.1:0", "-F", scheme:format(port) }
      for _ = 1, 3 do
        assert.equal("HTTP/2.0 localhost\n", curl { "-x", "socks5h://127.0.0.1:" .. p:port(1), "-k",
          ("https://localhost:%d/whoami"):format(web.https) })
      end
    end
  end))
end)
