-- WebSockets with programs others wrote: Python's websockets and v2ray in both roles, nginx and haproxy
-- in between.

local fixture = require "spec.helpers.tls"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local PYTHON = "/usr/bin/python3"
local PEER = "spec/interop/peers/websocket.py"
local SIZE = 3000000

local NGINX = [[
daemon off;
worker_processes 1;
pid %s/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  server {
    listen 127.0.0.1:%d ssl;
    ssl_certificate %s;
    ssl_certificate_key %s;
    location /tunnel {
      proxy_pass http://127.0.0.1:%d;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_set_header X-Forwarded-For 192.0.2.9;
    }
  }
}
]]

local HAPROXY = [[
global
  maxconn 200
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout tunnel 1m
frontend f
  bind 127.0.0.1:%d ssl crt %s
  default_backend b
backend b
  server s 127.0.0.1:%d
]]

-- A tidegate that carries a SOCKS5 proxy's traffic over a WebSocket to `port`, and what comes through.
local function check_through(scheme, port, query)
  local web = origin.nginx()
  local p = proxy.start { "-L", "socks5://127.0.0.1:0", "-F",
    ("%s://127.0.0.1:%d%s"):format(scheme, port, query or "") }
  programs.output("sh", { "-c", ("head -c 4000000 /dev/urandom > %s/blob"):format(web.www) })
  local all = { "-x", "socks5h://127.0.0.1:" .. p:port(1) }
  for _ = 1, 3 do
    local sum = programs.output("sh", { "-c",
      ("curl -sf -x socks5h://127.0.0.1:%d http://127.0.0.1:%d/blob | md5sum"):format(p:port(1), web.http) })
    assert.equal(programs.output("sh", { "-c", ("md5sum < %s/blob"):format(web.www) }), sum)
  end
  all[3] = ("http://127.0.0.1:%d/whoami"):format(web.http)
  assert.equal("HTTP/1.1 127.0.0.1\n", origin.curl(all))
  local codes = programs.output("sh", { "-c", ([[seq 40 | xargs -P 20 -I{} curl -sf -o /dev/null \
    -w '%%{http_code}\n' -x socks5h://127.0.0.1:%d http://127.0.0.1:%d/hello.html | sort | uniq -c]]):format(
    p:port(1), web.http) })
  assert.matches("^%s*40 200%s*$", codes)
end

describe("websocket peers", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  for name, case in pairs {
    plain = { query = "", extensions = "" },
    compressed = { query = "?enableCompression=true", extensions = "permessage%-deflate" },
  } do
    it("serves Python's websockets, " .. name, helpers.task(function()
      local address, stop = server.echo()
      local p = proxy.start { "-L", ("tcp+ws://127.0.0.1:0/%s%s"):format(address, case.query) }
      local said = programs.output(PYTHON, { PEER, "talk", ("ws://127.0.0.1:%d/ws"):format(p:port(1)),
        tostring(SIZE) }, { seconds = 40 })
      assert.matches("^ok " .. case.extensions .. "\n", said)
      stop()
    end))

    it("is a client of Python's websockets, " .. name, helpers.task(function()
      local port = programs.free_port()
      programs.start(PYTHON, { PEER, "serve", tostring(port) }, { ready = "ready" })
      local p = proxy.start { "-L", "tcp://127.0.0.1:0/127.0.0.1:9", "-F",
        ("tcp+ws://127.0.0.1:%d%s"):format(port, case.query) }
      local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
      s:set_deadline(task.now() + 30000)
      local data = ("tide and gate "):rep(SIZE / 14)
      local writing = helpers.spawn(s.write, s, data)
      assert.is_true(s:read_exact(#data) == data)
      writing()
      s:close()
    end))
  end

  it("tells Python's websockets that they broke the rules", helpers.task(function()
    local address, stop = server.echo()
    local p = proxy.start { "-L", ("tcp+ws://127.0.0.1:0/%s"):format(address) }
    local said = programs.output(PYTHON, { PEER, "break", ("ws://127.0.0.1:%d/ws"):format(p:port(1)) },
      { seconds = 40 })
    assert.equal("closed with 1002\n", said)
    stop()
  end))

  it("goes through nginx", helpers.task(function()
    local port, folder = programs.free_port(), programs.folder()
    local files = fixture.certificate(fixture.authority "ws", "localhost")
    local far = proxy.start { "-L", "socks5+ws://127.0.0.1:0?path=/tunnel", "-L",
      "socks5+mws://127.0.0.1:0?path=/tunnel" }
    for i, scheme in ipairs { "socks5+wss", "socks5+mwss" } do
      local config = programs.file(folder, "nginx.conf",
        NGINX:format(folder, port, files.cert, files.key, far:port(i)))
      local web = programs.start("nginx", { "-c", config, "-e", "stderr", "-p", folder }, { port = port })
      check_through(scheme, port, "?path=/tunnel")
      web:stop()
    end
    far:logged("192.0.2.9", true)
  end, 60))

  it("goes through haproxy", helpers.task(function()
    local port, folder = programs.free_port(), programs.folder()
    local files = fixture.certificate(fixture.authority "ws", "localhost")
    programs.output("sh", { "-c", ("cat %s %s > %s/both.pem"):format(files.cert, files.key, folder) })
    local far = proxy.start { "-L", "socks5+ws://127.0.0.1:0" }
    local config = programs.file(folder, "haproxy.cfg",
      HAPROXY:format(port, folder .. "/both.pem", far:port(1)))
    programs.start("haproxy", { "-db", "-f", config }, { port = port })
    check_through("socks5+wss", port)
  end, 60))

  it("reaches v2ray, and is reached by it", helpers.task(function()
    if programs.run("sh", { "-c", "command -v v2ray" }).code ~= 0 then
      return pending "v2ray is not installed"
    end
    local function start(name, config, port)
      local path = programs.file(programs.folder(), name .. ".json", config)
      programs.start("v2ray", { "-config", path }, { port = port })
    end
    local port = programs.free_port()
    start("server", ([[{ "inbounds": [ { "listen": "127.0.0.1", "port": %d, "protocol": "socks",
      "settings": { "auth": "noauth" },
      "streamSettings": { "network": "ws", "wsSettings": { "path": "/v2" } } } ],
      "outbounds": [ { "protocol": "freedom" } ] }]]):format(port), port)
    check_through("socks5+ws", port, "?path=/v2")

    local far = proxy.start { "-L", "socks5+ws://127.0.0.1:0?path=/v2" }
    port = programs.free_port()
    start("client", ([[{ "inbounds": [ { "listen": "127.0.0.1", "port": %d, "protocol": "socks",
      "settings": { "auth": "noauth" } } ],
      "outbounds": [ { "protocol": "socks",
        "settings": { "servers": [ { "address": "127.0.0.1", "port": %d } ] },
        "streamSettings": { "network": "ws", "wsSettings": { "path": "/v2" } } } ] }]]):format(
      port, far:port(1)), port)
    check_through("socks5", port)
    far:logged("><", true)
  end, 60))
end)
