-- The reverse proxy towards targets that speak HTTP/2: Google's gRPC in Python on both sides, nginx, nghttpd and
-- haproxy as origins, curl and h2load as clients.

local cjson = require "cjson"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local tls = require "spec.helpers.tls"

local PYTHON, PEER = "/usr/bin/python3", "spec/interop/peers/grpc_calls.py"
local CALLS = "unary,large,server_stream,client_stream,bidi,errors,cancel,deadline,many"
local ANSWERS = [[
cba one True goodbye 3
3145728 True
499500
500000
20 heard 0 heard 19
Deny PERMISSION_DENIED not for you, 100% sure: ü policy
FailLate DATA_LOSS half way -
Nowhere UNIMPLEMENTED Method not found! -
watching
1
watching
DEADLINE_EXCEEDED
1
True
]]

local SERVICE = [[
services:
- name: web
  addr: 127.0.0.1:0
  handler: {type: tcp, metadata: {sniffing: true}}
  listener: %s
  forwarder: {nodes: [%s]}
  recorders: [{name: file, record: recorder.service.handler, metadata: {http.body: true}}]
recorders: [{name: file, file: {path: %s, sep: "\n"}}]
]]

describe("reverse proxy in HTTP/2 #interop", function()
  local authority, files

  setup(helpers.task(function()
    authority = tls.authority "Inside"
    files = tls.certificate(authority, "localhost", { san = "DNS:localhost,IP:127.0.0.1" })
  end))
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  local CLEAR = "{type: tcp}"
  local function secure()
    return ("{type: tls, tls: {certFile: %s, keyFile: %s, options: {alpn: [h2, http/1.1]}}}"):format(files.cert,
      files.key)
  end

  -- @return tidegate, the file with its records
  local function start(listener, nodes)
    local folder = programs.folder()
    local path = folder .. "/records"
    local p = proxy.start({ "-C", programs.file(folder, "c.yml", SERVICE:format(listener, nodes, path)) },
      { services = 1, env = { SSL_CERT_FILE = authority.cert } })
    return p, path
  end

  -- @return its port
  local function server(name, with_tls)
    local started = programs.start(PYTHON, { PEER, "server", "0", name, with_tls and files.cert or nil,
      with_tls and files.key or nil }, { ready = "%d+\n" })
    return started.stdout:match "%d+", started
  end

  local function calls(p, tests, ca, name)
    return programs.output(PYTHON, { PEER, "client", "127.0.0.1:" .. p:port(1), tests, ca, name }, { seconds = 60 })
  end

  it("carries all kinds of calls, in clear", helpers.task(function()
    local p, path = start(CLEAR, ('{name: one, addr: "127.0.0.1:%s"}'):format(server "one"))
    assert.equal(ANSWERS, calls(p, CALLS))
    local rec = cjson.decode((io.lines(path)()))
    assert.same({ "HTTP/2.0", "POST", 200, "one" },
      { rec.http.proto, rec.http.method, rec.http.statusCode, rec.node })
    assert.is_nil(rec.http.request.header["Transfer-Encoding"])
  end))

  it("carries all kinds of calls, with TLS on both sides", helpers.task(function()
    local p = start(secure(), ('{name: one, addr: "127.0.0.1:%s", tls: {secure: true, serverName: localhost}}'):format(
      server("one", true)))
    assert.equal(ANSWERS, calls(p, CALLS, authority.cert, "localhost"))
  end))

  it("chooses between servers by path and host, and changes what they are asked", helpers.task(function()
    local p = start(CLEAR, ([[{name: one, addr: "127.0.0.1:%s",
      matcher: {rule: "PathPrefix(`/test.Calls/`) && Header(`key`, `v`)"}},
      {name: two, addr: "127.0.0.1:%s", matcher: {rule: "Host(`two.example`)"}, metadata: {http.version: 2},
       http: {rewriteURL: [{match: "^/test.Calls/Nowhere$", replacement: "/test.Calls/Count"}]}}]]):format(
      server "one", server "two"))
    assert.match("cba one", calls(p, "unary"), 1, true)
    assert.match("Nowhere UNKNOWN", calls(p, "errors", "-", "two.example"), 1, true)
  end))

  it("tells callers when the server is not there, and goes on when it is back", helpers.task(function()
    local port, running = server "one"
    local p = start(CLEAR, ('{name: one, addr: "127.0.0.1:%s"}'):format(port))
    assert.match("cba one", calls(p, "unary"), 1, true)
    running:stop()
    assert.match("Deny UNAVAILABLE", calls(p, "errors"), 1, true)
    p:logged "one 127.0.0.1"
    programs.start(PYTHON, { PEER, "server", port, "back" }, { ready = "%d+\n" })
    assert.match("cba back", calls(p, "unary"), 1, true)
  end))

  local function curl(...)
    return programs.output("curl", { "-sS", "-m", "20", ... }, { seconds = 30 })
  end

  it("speaks HTTP/2 to nginx for curl that does, and HTTP/1.1 for curl that does not", helpers.task(function()
    local nginx = origin.nginx()
    local folder = programs.folder()
    local config = programs.file(folder, "c.yml", SERVICE:format(secure(),
      ('{name: n, addr: "127.0.0.1:%d", tls: {secure: true, serverName: localhost}}'):format(nginx.https),
      folder .. "/records"))
    local p = proxy.start({ "-C", config }, { services = 1, env = { SSL_CERT_FILE = nginx.folder .. "/cert.pem" } })
    local url = ("https://localhost:%d"):format(p:port(1))
    assert.match("HTTP/2.0 localhost\nHTTP/2.0 localhost\n", curl("--cacert", authority.cert, "--http2",
      url .. "/whoami", url .. "/whoami"), 1, true)
    assert.match("HTTP/1.1 localhost\n", curl("--cacert", authority.cert, "--http1.1", url .. "/whoami"), 1, true)
    programs.output("sh", { "-c", ("head -c 20000000 /dev/urandom > %s/big"):format(nginx.www) })
    curl("--cacert", authority.cert, "-T", nginx.www .. "/big", url .. "/up/new")
    curl("--cacert", authority.cert, "-o", folder .. "/down", url .. "/up/new")
    programs.output("cmp", { nginx.www .. "/big", folder .. "/down" })
    programs.output("cmp", { nginx.www .. "/big", nginx.www .. "/up/new" })
  end))

  it("carries a thousand requests of h2load to nginx over few connections", helpers.task(function()
    local nginx = origin.nginx()
    local p = start(CLEAR, ('{name: n, addr: "127.0.0.1:%d", tls: {}}'):format(nginx.https))
    local said = programs.output("h2load", { "-n", "3000", "-c", "3", "-m", "100",
      ("http://127.0.0.1:%d/hello.html"):format(p:port(1)) }, { seconds = 60 })
    assert.match("3000 2xx", said, 1, true)
  end))

  it("passes trailers of nghttpd on, to HTTP/1.1 as well", helpers.task(function()
    local folder, port = programs.folder(), programs.free_port()
    programs.file(folder, "page", "a page")
    programs.start("nghttpd", { "--no-tls", "--trailer=x-sum: 42", "-d", folder, "-a", "127.0.0.1", tostring(port) },
      { port = port })
    local p = start(CLEAR, ('{name: n, addr: "127.0.0.1:%d", metadata: {http.version: 2}}'):format(port))
    local url = ("http://127.0.0.1:%d/page"):format(p:port(1))
    assert.equal("a page", curl("--http2-prior-knowledge", url))
    local said = programs.output("nghttp", { "-nv", url }, { seconds = 40 })
    assert.match("x%-sum: [^\n]*42", (said:gsub("\27%[[%d;]*m", "")))
    -- curl has no place for the trailers of a body whose length is known: this server says it
    assert.match("a page", curl("--http1.1", url), 1, true)
  end))

  it("uses haproxy in clear with prior knowledge, and whoever speaks HTTP/1.1 only in that", helpers.task(function()
    local folder, port, plain = programs.folder(), programs.free_port(), programs.free_port()
    programs.start("haproxy", { "-db", "-f", programs.file(folder, "h.cfg", ([[
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend two
  bind 127.0.0.1:%d proto h2
  http-request return status 200 content-type text/plain lf-string "%%HV %%[req.hdr(host)]"
frontend one
  bind 127.0.0.1:%d
  option http-ignore-probes
  http-request return status 200 content-type text/plain lf-string "%%HV %%[req.hdr(host)]"
]]):format(port, plain)) }, { port = port })
    for _, case in ipairs { { port, "", "HTTP/2.0" }, { port, "metadata: {http.version: 2}, ", "HTTP/2.0" },
      { plain, "metadata: {http.version: 1.1}, ", "HTTP/1.1" } } do
      local p = start(CLEAR, ('{name: n, %saddr: "127.0.0.1:%d"}'):format(case[2], case[1]))
      local url = ("http://127.0.0.1:%d/x"):format(p:port(1))
      assert.equal(("%s 127.0.0.1:%d"):format(case[3], p:port(1)), curl("--http2-prior-knowledge", url))
    end
  end))
end)
