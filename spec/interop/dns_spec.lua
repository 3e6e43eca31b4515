-- Resolvers and hosts of a whole tidegate, against dnsmasq, unbound and a DoH server of dnspython.

local helpers = require "spec.helpers"
local nameservers = require "spec.helpers.nameservers"
local origin = require "spec.helpers.origin"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local PYTHON = "/usr/bin/python3" -- Debian's own, which has Debian's modules

-- A web server; names that lead to 127.0.0.1 lead to it.  @return port
local function web()
  return plane.accept(function(s)
    if s:read_until("\r\n\r\n", 4096) then
      s:write "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhere\n"
    end
    s:close()
  end):match ":(%d+)$"
end

local function dnsmasq(...)
  local port = programs.free_port()
  local server = programs.start("dnsmasq", {
    "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--bind-interfaces",
    "--listen-address=127.0.0.1", "--port=" .. port, "--address=/origin.test/127.0.0.1", "--local=/test/",
    "--user=" .. (os.getenv "USER" or "root"), "--pid-file=", "--log-queries", "--log-facility=-", ...,
  }, { port = port })
  return port, server
end

local doh, unbound = nameservers.doh, nameservers.unbound

-- A proxy from a YAML text.
local function start(text, env)
  local file = programs.file(programs.folder(), "gost.yml", text)
  return proxy.start({ "-C", file }, { services = select(2, text:gsub("\n  addr: ", "")), env = env })
end

local SERVICE = [[
services:
- name: s
  addr: 127.0.0.1:0
  resolver: r
  handler: { type: http }
  listener: { type: tcp }
log: { level: debug }
resolvers:
- name: r
  nameservers:
]]

local function get(p, port, host)
  return programs.run("curl", { "-sS", "--max-time", "20", "--noproxy", "", "-x", "http://127.0.0.1:" .. p:port(1),
    ("http://%s:%s/"):format(host or "origin.test", port) }).stdout
end

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

describe("names", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
    plane.cleanup()
  end)

  for _, scheme in ipairs { "", "udp://", "tcp://" } do
    it("from dnsmasq: " .. scheme, helpers.task(function()
      local port, server = dnsmasq()
      local p = proxy.start { "-L", ("http://127.0.0.1:0?resolver=%s127.0.0.1:%d"):format(scheme, port) }
      local at = web()
      for _ = 1, 5 do
        assert.same("here\n", get(p, at))
      end
      -- dnsmasq says a TTL of 0, so nothing is kept
      assert.is_true(count(server.stdout .. server.stderr, "query%[A%] origin.test") >= 5)
      assert.same("", get(p, at, "missing.test"))
      p:logged("resolver: domain missing.test does not exist", true)
    end, 60))
  end

  it("from dnsmasq, kept as long as the configuration says", helpers.task(function()
    local port, server = dnsmasq()
    local p = start(SERVICE .. ("  - { addr: 127.0.0.1:%d, ttl: 60s }\n"):format(port))
    local at = web()
    for _ = 1, 10 do
      assert.same("here\n", get(p, at))
    end
    assert.is_true(count(server.stdout .. server.stderr, "query%[A%] origin.test") <= 2) -- one for each worker
  end, 60))

  it("from the command line's hosts=", helpers.task(function()
    local p = proxy.start { "-L", "http://127.0.0.1:0?hosts=origin.test:127.0.0.1,.example.test:127.0.0.1" }
    local at = web()
    assert.same("here\n", get(p, at))
    assert.same("here\n", get(p, at, "any.example.test"))
  end, 60))

  it("from unbound by TLS, verified", helpers.task(function()
    local _, port, ca = unbound()
    local at = web()
    local line = "  - { addr: tls://127.0.0.1:%d, hostname: %s }\n"
    local p = start(SERVICE .. line:format(port, "dns.test"), { SSL_CERT_FILE = ca })
    for _ = 1, 3 do
      assert.same("here\n", get(p, at))
    end
    local other = start(SERVICE .. line:format(port, "other.test"), { SSL_CERT_FILE = ca })
    assert.same("", get(other, at))
    other:logged "nameserver tls://127%.0%.0%.1:%d+: .*hostname mismatch"
    local plain = start(SERVICE .. ("  - { addr: 'dot://127.0.0.1:%d' }\n"):format(port))
    assert.same("here\n", get(plain, at))
  end, 60))

  it("from unbound: IPv6 only, by preference", helpers.task(function()
    local port = unbound()
    local p = start(SERVICE .. ("  - { addr: 127.0.0.1:%d, prefer: ipv6 }\n"):format(port))
    local acceptor = web()
    assert.same("", get(p, acceptor, "six.test")) -- nobody listens on ::1
    p:logged "%[::1%]:%d+"
    assert.same("here\n", get(p, acceptor))
  end, 60))

  it("from unbound, more than a datagram holds", helpers.task(function()
    local lines = { '  local-data: "many.test. 60 IN A 127.0.0.1"' }
    for i = 1, 60 do
      lines[#lines + 1] = ('  local-data: "many.test. 60 IN A 127.0.1.%d"'):format(i)
    end
    local port = unbound(table.concat(lines, "\n"))
    local native = require "tidegate.net.dns"
    local answer = assert(native.query { server = "127.0.0.1:" .. port, name = "many.test" })
    assert.same(61, #native.addresses(answer))
  end, 60))

  it("from unbound by HTTPS, which is HTTP/2 there", helpers.task(function()
    local https = programs.free_port()
    local _, _, ca = unbound(("  interface: 127.0.0.1@%d\n  https-port: %d\n"):format(https, https))
    local at = web()
    local p = start(SERVICE .. ("  - { addr: 'https://127.0.0.1:%d/dns-query', hostname: dns.test, ttl: -1s }\n")
      :format(https), { SSL_CERT_FILE = ca })
    for _ = 1, 6 do
      assert.same("here\n", get(p, at))
    end
    assert.same("", get(p, at, "missing.test"))
    p:logged("DNS NXDOMAIN for missing.test.", true)
  end, 60))

  it("from a DoH server, on one connection", helpers.task(function()
    local port, ca, server = doh()
    local p = start(SERVICE .. ("  - { addr: 'https://localhost:%s/dns-query', ttl: -1s }\n"):format(port),
      { SSL_CERT_FILE = ca })
    local at = web()
    for _ = 1, 6 do
      assert.same("here\n", get(p, at))
    end
    assert.same(6, count(server.stdout, "post"))
    assert.is_true(count(server.stdout, "connection") <= 4) -- for each worker one, and one to ask for HTTP/2
    local untrusted = start(SERVICE .. ("  - { addr: 'https://localhost:%s/dns-query' }\n"):format(port))
    assert.same("", get(untrusted, at))
  end, 60))

  it("from the next server when one is broken", helpers.task(function()
    local port = dnsmasq()
    local bad, ca = doh "error"
    local worse = doh "garbage"
    local p = start(SERVICE .. ([[
  - { addr: 'https://localhost:%s/dns-query' }
  - { addr: 'https://localhost:%s/dns-query' }
  - { addr: '127.0.0.1:%d' }
  - { addr: '127.0.0.1:%d' }
]]):format(bad, worse, programs.free_port(), port), { SSL_CERT_FILE = ca })
    local at = web()
    for _ = 1, 6 do
      assert.same("here\n", get(p, at))
    end
    p:logged "dns%-query: .*status 500"
    -- one line for each of three servers and each worker that met it
    assert.is_true(count(p:log(), "others are asked first") <= 6)
  end, 60))

  it("again from a server that was down", helpers.task(function()
    local port, server = dnsmasq()
    local p = start(SERVICE .. ("  - { addr: 127.0.0.1:%d }\n"):format(port))
    local at = web()
    assert.same("here\n", get(p, at))
    server:stop()
    for _ = 1, 4 do
      assert.same("", get(p, at))
    end
    p:logged "nameserver 127%.0%.0%.1:%d+: .*[Rr]efused"
    programs.start("dnsmasq", {
      "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--bind-interfaces",
      "--listen-address=127.0.0.1", "--port=" .. port, "--address=/origin.test/127.0.0.1", "--pid-file=",
      "--user=" .. (os.getenv "USER" or "root"),
    }, { port = port })
    for _ = 1, 8 do
      assert.same("here\n", get(p, at))
    end
    p:logged "works again"
  end, 90))

  it("through a chain: UDP and TCP by SOCKS5", helpers.task(function()
    local port = dnsmasq()
    local at = web()
    local far = proxy.start { "-L", "socks5://127.0.0.1:0?udp=true" }
    for _, scheme in ipairs { "udp", "tcp" } do
      local p = start(SERVICE .. ([[
  - { addr: '%s://127.0.0.1:%d', chain: c }
chains:
- name: c
  hops:
  - name: h
    nodes: [ { name: n, addr: '127.0.0.1:%d', connector: { type: socks5 }, dialer: { type: tcp } } ]
]]):format(scheme, port, far:port(1)))
      assert.same("here\n", get(p, at))
    end
  end, 60))

  it("from a file of 100,000 lines that changes", helpers.task(function()
    local folder = programs.folder()
    local function write(ip)
      local lines = { ip .. " origin.test" }
      for i = 1, 100000 do
        lines[#lines + 1] = ("10.%d.%d.%d host-%d.test"):format(math.floor(i / 65536), math.floor(i / 256) % 256,
          i % 256, i)
      end
      os.rename(programs.file(folder, "new", table.concat(lines, "\n")), folder .. "/hosts")
    end
    write "127.0.0.1"
    local p = start(([[
services:
- name: s
  addr: 127.0.0.1:0
  hosts: h
  handler: { type: http }
  listener: { type: tcp }
hosts:
- name: h
  reload: 1s
  file: { path: %s/hosts }
]]):format(folder))
    local at = web()
    assert.same("here\n", get(p, at))
    write "127.0.0.99"
    helpers.eventually(function()
      return get(p, at) == ""
    end, "the change was not seen", 60)
    write "127.0.0.1"
    helpers.eventually(function()
      return get(p, at) == "here\n"
    end, "the second change was not seen", 60)
  end, 180))

  it("travel through UDP associations with hosts of their own", helpers.task(function()
    local port = origin.dnsmasq()
    local p = proxy.start { "-L", "socks5://127.0.0.1:0?udp=true&hosts=ns.test:127.0.0.1" }
    local out = programs.output(PYTHON, {
      "spec/interop/peers/socks_udp.py", tostring(p:port(1)), tostring(port), "tidegate.test", "ns.test",
    })
    assert.same("192.0.2.33\n", out)
  end, 60))
end)
