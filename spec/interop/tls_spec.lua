-- TLS and the PROXY protocol against programs others wrote, in both roles.

local fixture = require "spec.helpers.tls"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local authority, server_files, client_files

local function query(options)
  local parts = {}
  for key, value in pairs(options) do
    parts[#parts + 1] = key .. "=" .. value
  end
  table.sort(parts)
  return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

-- -L with our certificate
local function serving(scheme, target, options)
  options = options or {}
  options.certFile, options.keyFile = server_files.cert, server_files.key
  return ("%s://127.0.0.1:0%s%s"):format(scheme, target and "/" .. target or "", query(options))
end

-- -F that verifies everything
local function trusting(scheme, port, options)
  options = options or {}
  options.caFile, options.secure, options.serverName = authority.cert, "true", "localhost"
  return ("%s://127.0.0.1:%d%s"):format(scheme, port, query(options))
end

local function curl(args)
  return programs.output("curl", { "-sS", "--fail", "--max-time", "30", "--noproxy", "",
    unpack(args) }, { seconds = 40 })
end

local function sum_of(path)
  return programs.output("sha256sum", { path }):match "^%x+"
end

-- An origin with a file of some megabytes; → nginx, its URL, its sum
local function web_with_file()
  local web = origin.nginx()
  local path = web.www .. "/big"
  programs.output("sh", { "-c", "head -c 20000000 /dev/urandom > " .. path })
  return web, ("http://127.0.0.1:%d/big"):format(web.http),
    sum_of(path)
end

-- What curl gets, as a sum
local function fetch(...)
  local path = fixture.directory() .. "/fetched"
  curl { "-o", path, ... }
  return sum_of(path)
end

-- Send a line and half-close; → all that comes back
local function converse(address, text)
  local s = assert(stream.dial(address, nil, task.now() + 20000))
  s:set_deadline(task.now() + 10000)
  assert(s:write(text))
  local parts = {}
  local part = s:read()
  while part do
    parts[#parts + 1] = part
    if table.concat(parts):find "\n" then
      break
    end
    part = s:read()
  end
  s:close()
  return table.concat(parts)
end

describe("tls", function()
  setup(helpers.task(function()
    authority = fixture.authority "interop"
    server_files = fixture.certificate(authority, "localhost", { san = "DNS:localhost,IP:127.0.0.1" })
    client_files = fixture.certificate(authority, "a client")
    fixture.write("server.pem", fixture.read(server_files.cert) .. fixture.read(server_files.key))
    programs.output("chmod", { "-R", "a+rX", fixture.directory() })
  end))

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("serves curl as an https proxy", helpers.task(function()
    local web, url, sum = web_with_file()
    local p = proxy.start { "-L", serving "http+tls", "-L", serving "auto+tls" }
    for i = 1, 2 do
      local via = { "--proxy-cacert", authority.cert, "-x", "https://localhost:" .. p:port(i) }
      assert.equal(sum, fetch(via[1], via[2], via[3], via[4], url))
      assert.equal(sum, fetch(via[1], via[2], via[3], via[4], "-p", url))
      assert.equal("HTTP/2.0 localhost\n", curl { via[1], via[2], via[3], via[4], "-k", "--http2",
        ("https://localhost:%d/whoami"):format(web.https) })
    end
  end))

  for _, scheme in ipairs { "http+tls", "socks5+tls", "socks4a+tls", "relay+tls", "auto+tls" } do
    it("connects two tidegates by " .. scheme, helpers.task(function()
      local _, url, sum = web_with_file()
      local far = proxy.start { "-L", serving(scheme) }
      local near = proxy.start { "-L", "http://127.0.0.1:0", "-F",
        trusting(scheme:gsub("^auto", "socks5"), far:port(1)) }
      for _ = 1, 3 do -- the later ones resume
        assert.equal(sum, fetch("-p", "-x", "http://127.0.0.1:" .. near:port(1), url))
      end
    end))
  end

  it("passes uploads and half-close through a chain", helpers.task(function()
    local web, url = web_with_file()
    local far = proxy.start { "-L", serving "relay+tls" }
    local middle = proxy.start { "-L", serving "http+tls", "-F", trusting("relay+tls", far:port(1)) }
    local near = proxy.start { "-L", "socks5://127.0.0.1:0", "-F",
      trusting("http+tls", middle:port(1)) }
    local via = "socks5h://127.0.0.1:" .. near:port(1)
    local copy = web.folder .. "/copy"
    curl { "-x", via, "-o", copy, url }
    curl { "-x", via, "-k", "-T", copy, ("https://localhost:%d/up/copy"):format(web.https) }
    programs.output("cmp", { copy, web.www .. "/up/copy" })
    programs.output("cmp", { copy, web.www .. "/big" })
  end))

  it("refuses a node with a wrong certificate", helpers.task(function()
    local stranger = fixture.certificate(fixture.authority "strangers", "localhost")
    local far = proxy.start { "-L", ("http+tls://127.0.0.1:0?certFile=%s&keyFile=%s")
      :format(stranger.cert, stranger.key) }
    local near = proxy.start { "-L", "http://127.0.0.1:0", "-F", trusting("http+tls", far:port(1)) }
    local result = programs.run("curl", { "-sS", "-p", "--noproxy", "", "-x",
      "http://127.0.0.1:" .. near:port(1), "http://127.0.0.1:9/" })
    assert.not_equal(0, result.code)
    near:logged "unable to get local issuer certificate"
  end))

  describe("and openssl", function()
    local function s_client(port, args, input)
      return programs.run("sh", { "-c", ([[
        (printf '%%s\n' "$0"; sleep 0.7) | exec openssl s_client -connect 127.0.0.1:%d -quiet "$@" 2>&1
      ]]):format(port), input or "hello", unpack(args or {}) }, { seconds = 40 }).stdout
    end

    local function echo()
      return "127.0.0.1:" .. proxy.start({ "-L", "http://127.0.0.1:0" }):port(1)
    end

    it("s_client speaks every version", helpers.task(function()
      local target = echo()
      local p = proxy.start { "-L", serving("tcp+tls", target) }
      for _, version in ipairs { "-tls1_2", "-tls1_3" } do
        local said = s_client(p:port(1), { version, "-CAfile", authority.cert,
          "-verify_return_error", "-servername", "localhost", "-ign_eof" }, "GARBAGE\r\n\r\n")
        assert.matches("HTTP/1.1 400", said)
      end
      local said = s_client(p:port(1), { "-tls1_1", "-cipher", "ALL:@SECLEVEL=0" })
      assert.matches("alert protocol version", said)
    end))

    it("s_client shows its certificate", helpers.task(function()
      local p = proxy.start { "-L", serving("tcp+tls", echo(), { caFile = authority.cert }) }
      local args = { "-ign_eof", "-cert", client_files.cert, "-key", client_files.key }
      assert.matches("HTTP/1.1 400", s_client(p:port(1), args, "GARBAGE\r\n\r\n"))
      assert.not_matches("HTTP/1.1", s_client(p:port(1), { "-ign_eof" }, "GARBAGE\r\n\r\n"))
      p:logged "the client gave no certificate"
      p:logged '"remote":"127%.0%.0%.1:%d+"'
    end))

    it("s_server answers us, and wants our certificate", helpers.task(function()
      local port = programs.free_port()
      programs.start("openssl", { "s_server", "-accept", "127.0.0.1:" .. port, "-rev", "-quiet",
        "-cert", server_files.cert, "-key", server_files.key, "-CAfile", authority.cert,
        "-Verify", "2", "-verify_return_error" }, { port = port })
      local options = { certFile = client_files.cert, keyFile = client_files.key }
      local p = proxy.start { "-L", "tcp://127.0.0.1:0/ignored:1", "-F",
        trusting("tcp+tls", port, options) }
      for _ = 1, 2 do
        assert.equal("olleh\n", converse(p:address(1), "hello\n"))
      end
      local bare = proxy.start { "-L", "tcp://127.0.0.1:0/ignored:1", "-F", trusting("tcp+tls", port) }
      assert.equal("", converse(bare:address(1), "hello\n"))
    end))

    it("s_client sees a changed certificate", helpers.task(function()
      local cert = fixture.write("moving.pem", fixture.read(server_files.cert))
      local key = fixture.write("moving.key", fixture.read(server_files.key))
      local p = proxy.start { "-L", ("tcp+tls://127.0.0.1:0/127.0.0.1:9?certFile=%s&keyFile=%s")
        :format(cert, key) }
      local function presented()
        return programs.run("sh", { "-c", ("openssl s_client -connect 127.0.0.1:%d </dev/null 2>&1")
          :format(p:port(1)) }).stdout:match "subject=CN ?= ?(%C*)"
      end
      assert.equal("localhost", presented())
      local fresh = fixture.certificate(authority, "fresh.test")
      fixture.write("moving.key", fixture.read(fresh.key))
      fixture.write("moving.pem", fixture.read(fresh.cert))
      helpers.eventually(function()
        return presented() == "fresh.test"
      end, "the old certificate is still used", 20)
    end))
  end)

  -- After much data the records are our own: who asks for new keys then gets them, and answers in them.
  describe("after much data", function()
    local LINES = 4000

    -- A client that echoes much, and then what say() says.  @return its process, say
    local function talk(command)
      local p = proxy.start { "-L", serving("tcp+tls", plane.echo()) }
      local more = programs.folder() .. "/more"
      programs.output("mkfifo", { more })
      local input = assert(io.open(more, "r+"))
      local client = programs.start("sh", { "-c", ("(yes %s | head -%d; exec cat %s) | exec %s 2>&1"):format(
        ("x"):rep(49), LINES, more, command:format(p:port(1))) })
      local function count(pattern)
        return select(2, client.stdout:gsub(pattern, ""))
      end
      helpers.eventually(function()
        return count "%f[^\n]x+\n" == LINES
      end, "not all came back", 30)
      return client, function(text, answer)
        local before = count(answer)
        input:write(text, "\n")
        input:flush()
        helpers.eventually(function()
          return count(answer) > before
        end, "no answer to " .. text, 30)
      end, input
    end

    after_each(plane.cleanup)

    local function assert_rekeys(command, rekey, done)
      local client, say, input = talk(command)
      for i = 1, 2 do
        say(rekey, done)
        say("after " .. i, "after " .. i)
      end
      input:close()
      client:stop()
    end

    for _, letter in ipairs { "K", "k" } do
      it("s_client changes its keys by " .. letter, helpers.task(function()
        assert_rekeys("openssl s_client -connect 127.0.0.1:%d", letter, "KEYUPDATE")
      end))
    end

    it("gnutls-cli changes its keys", helpers.task(function()
      assert_rekeys("gnutls-cli --insecure --inline-commands -p %d 127.0.0.1", "^rekey^", "Rekey was completed")
    end))

    it("s_client gets no longer records than it asked for", helpers.task(function()
      local client, say, input = talk "openssl s_client -maxfraglen 1024 -quiet -connect 127.0.0.1:%d"
      say("the end", "the end")
      input:close()
      client:stop()
    end))
  end)

  describe("and stunnel", function()
    local function stunnel(text)
      local folder = programs.folder()
      local path = programs.file(folder, "stunnel.conf", "foreground = yes\npid =\nsyslog = no\n" .. text)
      return path
    end

    it("is its server", helpers.task(function()
      local _, url, sum = web_with_file()
      local p = proxy.start { "-L", serving("tcp+tls", url:match "//(.-)/") }
      local port = programs.free_port()
      programs.start("stunnel", { stunnel(([[
[client]
client = yes
accept = 127.0.0.1:%d
connect = 127.0.0.1:%d
CAfile = %s
verifyChain = yes
checkHost = localhost
]]):format(port, p:port(1), authority.cert)) }, { port = port })
      for _ = 1, 2 do
        assert.equal(sum, fetch(("http://127.0.0.1:%d/big"):format(port)))
      end
    end))

    it("is its client", helpers.task(function()
      local _, url, sum = web_with_file()
      local port = programs.free_port()
      programs.start("stunnel", { stunnel(([[
[server]
accept = 127.0.0.1:%d
connect = %s
cert = %s
]]):format(port, url:match "//(.-)/", fixture.directory() .. "/server.pem")) }, { port = port })
      local p = proxy.start { "-L", "tcp://127.0.0.1:0/ignored:1", "-F", trusting("tcp+tls", port) }
      for _ = 1, 2 do
        assert.equal(sum, fetch(("http://%s/big"):format(p:address(1))))
      end
    end))
  end)

  describe("and nginx", function()
    it("is its client", helpers.task(function()
      local web, _, sum = web_with_file()
      local p = proxy.start { "-L", "tcp://127.0.0.1:0/ignored:1", "-F",
        ("tcp+tls://127.0.0.1:%d"):format(web.https) }
      assert.equal(sum, fetch(("http://%s/big"):format(p:address(1))))
    end))

    it("is its server", helpers.task(function()
      local _, url, sum = web_with_file()
      local p = proxy.start { "-L", serving("tcp+tls", url:match "//(.-)/") }
      local folder, port = programs.folder(), programs.free_port()
      local config = programs.file(folder, "nginx.conf", ([[
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid %s/nginx.pid;
error_log stderr warn;
events { worker_connections 100; }
stream {
  server {
    listen 127.0.0.1:%d;
    proxy_pass 127.0.0.1:%d;
    proxy_ssl on;
    proxy_ssl_name localhost;
    proxy_ssl_server_name on;
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate %s;
  }
}
]]):format(folder, port, p:port(1), authority.cert))
      programs.start("nginx", { "-c", config, "-e", "stderr", "-p", folder }, { port = port })
      for _ = 1, 3 do
        assert.equal(sum, fetch(("http://127.0.0.1:%d/big"):format(port)))
      end
    end))
  end)

  describe("and haproxy", function()
    local function haproxy(text, port)
      local folder = programs.folder()
      local config = programs.file(folder, "haproxy.cfg", ([[
global
  maxconn 100
  ssl-default-server-options ssl-min-ver TLSv1.2
defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
]]) .. text)
      return programs.start("haproxy", { "-db", "-f", config }, { port = port })
    end

    for version, word in ipairs { "send-proxy", "send-proxy-v2" } do
      it("reads the PROXY header it sends, version " .. version, helpers.task(function()
        local _, url, sum = web_with_file()
        local p = proxy.start { "-L", serving("tcp+tls", url:match "//(.-)/", { proxyProtocol = 1 }) }
        local port = programs.free_port()
        haproxy(([[
listen near
  bind 127.0.0.1:%d
  server far 127.0.0.1:%d ssl verify required ca-file %s %s sni str(localhost) check-sni localhost
]]):format(port, p:port(1), authority.cert, word), port)
        local local_port = programs.free_port()
        assert.equal(sum, fetch("--local-port", local_port, ("http://127.0.0.1:%d/big"):format(port)))
        p:logged("127.0.0.1:" .. local_port, true)
      end))

      it("writes the PROXY header it reads, version " .. version, helpers.task(function()
        local port = programs.free_port()
        haproxy(([[
listen far
  mode http
  bind 127.0.0.1:%d accept-proxy ssl crt %s/server.pem
  http-request return status 200 content-type text/plain lf-string "%%[src]:%%[src_port] %%[dst_port]"
]]):format(port, fixture.directory()), port)
        local p = proxy.start { "-L", "tcp://127.0.0.1:0/ignored:1", "-F",
          trusting("tcp+tls", port, { proxyProtocol = version }) }
        local local_port = programs.free_port()
        assert.equal(("127.0.0.1:%d %d"):format(local_port, p:port(1)),
          curl { "--local-port", local_port, ("http://%s/"):format(p:address(1)) })
      end))
    end
  end)
end)
