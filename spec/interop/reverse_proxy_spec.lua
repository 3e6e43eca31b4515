-- Reverse proxy and interception with programs others wrote: nginx, curl, OpenSSH, Chromium, Python's websockets.

local cjson = require "cjson"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local ssh = require "spec.helpers.ssh"
local tls = require "spec.helpers.tls"

local PYTHON, PEER = "/usr/bin/python3", "spec/interop/peers/websocket.py"

local function records(path)
  local list = {}
  local file = io.open(path)
  for line in file and file:lines() or function() end do
    list[#list + 1] = cjson.decode(line)
  end
  if file then
    file:close()
  end
  return list
end

local SERVICE = [[
services:
- name: web
  addr: 127.0.0.1:0
  handler: {type: tcp, metadata: {sniffing: true%s}}
  listener: %s
  forwarder: {nodes: [%s]}
  recorders: [{name: file, record: recorder.service.handler, metadata: {http.body: true}}]
recorders: [{name: file, file: {path: %s, sep: "\n"}}]
]]

describe("reverse proxy with peers", function()
  local nginx, authority

  setup(helpers.task(function()
    nginx = origin.nginx()
    authority = tls.authority "Interceptor"
  end))
  teardown(helpers.task(programs.stop_all))
  after_each(helpers.task(proxy.stop_all))

  -- @return tidegate, the file with its records
  local function start(listener, metadata, nodes)
    local folder = programs.folder()
    local config = programs.file(folder, "c.yml", SERVICE:format(metadata, listener, nodes, folder .. "/records"))
    return proxy.start({ "-C", config }, { services = 1, env = { SSL_CERT_FILE = nginx.folder .. "/cert.pem" } }),
      folder .. "/records"
  end

  local function curl(...)
    return programs.output("curl", { "-sS", "-m", "20", ... }, { seconds = 40 })
  end

  it("speaks TLS to nginx and changes its pages", helpers.task(function()
    local p = start("{type: tcp}", ", http.keepalive: true", ([[{name: n, addr: "127.0.0.1:%d",
      tls: {secure: true, serverName: localhost}, http: {rewriteResponseBody: [{match: hello, replacement: goodbye}],
      rewriteURL: [{match: "^/page$", replacement: /hello.html}]}}]]):format(nginx.https))
    local url = "http://127.0.0.1:" .. p:port(1)
    assert.match("goodbye from the origin", curl(url .. "/page", url .. "/page"), 1, true)
    assert.match("HTTP/1.1 127.0.0.1", curl(url .. "/whoami"), 1, true)
  end))

  it("refuses a target whose certificate is no good", helpers.task(function()
    local p = start("{type: tcp}", "",
      ([[{name: n, addr: "127.0.0.1:%d", tls: {secure: true, serverName: other.example}}]]):format(nginx.https))
    assert.same("503", curl("-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:" .. p:port(1) .. "/"))
    p:logged "n 127.0.0.1"
  end))

  for _, version in ipairs { "--http1.1", "--http2", "--http2-prior-knowledge" } do
    it("serves curl " .. version, helpers.task(function()
      local clear = version == "--http2-prior-knowledge"
      local listener = clear and "{type: tcp}" or "{type: tls, tls: {options: {alpn: [h2, http/1.1]}}}"
      local p = start(listener, ", http.keepalive: true",
        ('{name: n, addr: "127.0.0.1:%d"}'):format(nginx.http))
      local url = ("%s://127.0.0.1:%d"):format(clear and "http" or "https", p:port(1))
      programs.output("sh", { "-c", "head -c 3000000 /dev/urandom > " .. nginx.www .. "/blob" })
      assert.same(programs.output("md5sum", { nginx.www .. "/blob" }):match "^%x+", programs.output("sh", { "-c",
        ("curl -sSk %s %s/blob | md5sum"):format(version, url) }):match "^%x+")
      curl("-k", version, "-T", nginx.www .. "/blob", url .. "/up/copy")
      assert.same(programs.output("md5sum", { nginx.www .. "/blob" }):match "^%x+",
        programs.output("md5sum", { nginx.www .. "/up/copy" }):match "^%x+")
    end))
  end

  it("passes TLS by its name, and SSH by its banner", helpers.task(function()
    local keys = ssh.keys()
    local port = ssh.server(keys)
    local p = start("{type: tcp}", "", ([[
      {name: t, addr: "127.0.0.1:%d", matcher: {rule: "Proto(`tls`) && Host(`localhost`)"}},
      {name: s, addr: "127.0.0.1:%d", matcher: {rule: "Proto(`ssh`)"}}]]):format(nginx.https, port))
    assert.match("HTTP/2.0 localhost", curl("--cacert", nginx.folder .. "/cert.pem",
      ("https://localhost:%d/whoami"):format(p:port(1))), 1, true)
    assert.match("it works", programs.run("ssh", ssh.args(p:port(1), { key = keys .. "/user", user = "root@127.0.0.1",
      "echo it works" }),
      { seconds = 40 }).stdout, 1, true)
    local other = programs.run("curl", { "-sSk", "-m", "20", "--connect-to", "::127.0.0.1:" .. p:port(1),
      "https://other.example/" }, { seconds = 40 })
    assert.not_same(0, other.code)
  end))

  it("intercepts TLS towards targets and changes what is inside", helpers.task(function()
    local p, file = start("{type: tcp}",
      (", mitm.certFile: %s, mitm.keyFile: %s"):format(authority.cert, authority.key),
      ([[{name: n, addr: "127.0.0.1:%d", http: {rewriteResponseBody: [{match: hello, replacement: goodbye}]}}]])
      :format(nginx.https))
    for _, version in ipairs { "--http1.1", "--http2" } do
      assert.match("goodbye from the origin", curl(version, "--cacert", authority.cert,
        ("https://localhost:%d/hello.html"):format(p:port(1))), 1, true)
    end
    helpers.eventually(function()
      return #records(file) >= 2
    end)
    assert.same("n", records(file)[2].node)
  end))

  it("loads a page in Chromium through intercepted TLS", helpers.task(function()
    local folder = programs.folder()
    local config = programs.file(folder, "c.yml", ([[
services:
- name: p
  addr: 127.0.0.1:0
  handler: {type: http, metadata: {sniffing: true, mitm.certFile: %s, mitm.keyFile: %s}}
  recorders: [{name: file, record: recorder.service.handler}]
recorders: [{name: file, file: {path: %s/records, sep: "\n"}}]
]]):format(authority.cert, authority.key, folder))
    local p = proxy.start({ "-C", config }, { services = 1, env = { SSL_CERT_FILE = nginx.folder .. "/cert.pem" } })
    local page = programs.run("chromium", {
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--disable-dev-shm-usage", "--ignore-certificate-errors", "--user-data-dir=" .. programs.folder(),
      "--proxy-server=http://127.0.0.1:" .. p:port(1), "--proxy-bypass-list=<-loopback>",
      "--dump-dom", ("https://localhost:%d/hello.html"):format(nginx.https),
    }, { seconds = 60 })
    assert.match("hello from the origin", page.stdout, 1, true)
    local found
    for _, record in ipairs(records(folder .. "/records")) do
      found = found or record.http and record.http.uri:find("/hello.html", 1, true) ~= nil
    end
    assert.is_true(found)
  end))

  for _, way in ipairs { "ws", "wss" } do
    it("records frames of Python's websockets, " .. way, helpers.task(function()
      local port = programs.free_port()
      programs.start(PYTHON, { PEER, "serve", tostring(port) }, { ready = "ready" })
      local p, file = start(way == "wss" and ("{type: tls, tls: {certFile: %s/cert.pem, keyFile: %s/key.pem}}"):format(
        nginx.folder, nginx.folder) or "{type: tcp}", ", sniffing.websocket: true",
        ('{name: n, addr: "127.0.0.1:%d"}'):format(port))
      assert.match("^ok", programs.output(PYTHON, { PEER, "talk",
        ("%s://localhost:%d/"):format(way, p:port(1)), "3000000" },
        { seconds = 40, env = { SSL_CERT_FILE = nginx.folder .. "/cert.pem" } }))
      local froms, opening = {}, nil
      helpers.eventually(function()
        froms, opening = {}, nil
        for _, record in ipairs(records(file)) do
          if record.websocket then
            froms[record.websocket.from] = (froms[record.websocket.from] or 0) + 1
          else
            opening = record
          end
        end
        return opening and froms.client and froms.server
      end, "no frames are recorded")
      assert.same(101, opening.http.statusCode)
      assert.is_true(froms.client >= 5 and froms.client < 60)
    end))
  end
end)
