-- The main job with the programs people use: curl, a browser, ssh, iperf3, dig.

local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local GIB = 1073741824

local function sha256(path)
  return programs.output("sha256sum", { path }):match "^%x+"
end

-- Incompressible enough and different in every block, quickly made.
local function make_big_file(path)
  programs.output("/usr/bin/python3", { "-c", [[
import os, sys
block = os.urandom(1 << 20)
with open(sys.argv[1], "wb") as f:
    for i in range(1024):
        f.write(i.to_bytes(8, "big") + block[i:-8] + block[:i])
]], path })
end

local function curl(args)
  return programs.output("curl", { "-sS", "--fail", "--max-time", "120", "--noproxy", "", unpack(args) },
    { seconds = 130 })
end

describe("main job", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  for _, way in ipairs { "http://127.0.0.1", "socks4a://127.0.0.1", "socks5h://127.0.0.1", "socks5://127.0.0.1" } do
    it("carries curl to http, https and http/2 by " .. way, helpers.task(function()
      local web = origin.nginx()
      local p = proxy.start { "-L", "auto://127.0.0.1:0" }
      local via = way .. ":" .. p:port(1)
      assert.equal("HTTP/1.1 127.0.0.1\n", curl { "-x", via, ("http://127.0.0.1:%d/whoami"):format(web.http) })
      assert.equal("HTTP/1.1 localhost\n", curl { "-x", via, "-k", "--http1.1",
        ("https://localhost:%d/whoami"):format(web.https) })
      assert.equal("HTTP/2.0 localhost\n", curl { "-x", via, "-k", "--http2",
        ("https://localhost:%d/whoami"):format(web.https) })
    end))
  end

  it("downloads and uploads 1 GiB unchanged", helpers.task(function()
    local web = origin.nginx()
    local p = proxy.start { "-L", "http://127.0.0.1:0", "-L", "socks5://127.0.0.1:0" }
    local big, copy = web.www .. "/big", web.folder .. "/copy"
    make_big_file(big)
    local sum = sha256(big)
    for _, via in ipairs { "http://127.0.0.1:" .. p:port(1), "socks5h://127.0.0.1:" .. p:port(2) } do
      curl { "-x", via, "-o", copy, ("http://127.0.0.1:%d/big"):format(web.http) }
      assert.equal(sum, sha256(copy))
      os.remove(copy)
      curl { "-x", via, "-k", "-T", big, ("https://127.0.0.1:%d/up/big"):format(web.https) }
      assert.equal(sum, sha256(web.www .. "/up/big"))
      os.remove(web.www .. "/up/big")
    end
    assert.equal(GIB, tonumber(programs.output("stat", { "-c", "%s", big })))
  end, 200))

  it("answers 500 parallel requests", helpers.task(function()
    local web = origin.nginx()
    local p = proxy.start { "-L", "auto://127.0.0.1:0" }
    local jobs = {}
    for i, way in ipairs { "http", "socks5h" } do
      local lines = {}
      for n = 1, 250 do
        lines[#lines + 1] = ('url = "http://127.0.0.1:%d/hello.html?%d"\noutput = "/dev/null"'):format(web.http, n)
      end
      local list = programs.file(web.folder, "urls" .. i, table.concat(lines, "\n"))
      jobs[i] = helpers.spawn(curl, { "-x", way .. "://127.0.0.1:" .. p:port(1), "-Z", "--parallel-immediate",
        "--parallel-max", "250", "-w", "%{http_code}\\n", "-K", list })
    end
    for _, job in ipairs(jobs) do
      local _, good = job():gsub("200\n", "")
      assert.equal(250, good)
    end
  end))

  for _, way in ipairs { "http", "socks5" } do
    it("loads a page in a headless Chromium by " .. way, helpers.task(function()
      local web = origin.nginx()
      local p = proxy.start { "-L", way .. "://127.0.0.1:0" }
      local page = programs.run("chromium", {
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--ignore-certificate-errors", "--user-data-dir=" .. programs.folder(),
        ("--proxy-server=%s://127.0.0.1:%d"):format(way, p:port(1)), "--proxy-bypass-list=<-loopback>",
        "--dump-dom", ("https://localhost:%d/hello.html"):format(web.https),
      }, { seconds = 60 })
      assert.matches("hello from the origin", page.stdout, 1, true)
      assert.matches("localhost:" .. web.https, p:log(), 1, true)
    end))
  end

  it("carries ssh by ProxyCommand", helpers.task(function()
    local folder, port = programs.folder(), programs.free_port()
    programs.output("ssh-keygen", { "-q", "-t", "ed25519", "-N", "", "-f", folder .. "/host" })
    programs.output("ssh-keygen", { "-q", "-t", "ed25519", "-N", "", "-f", folder .. "/user" })
    programs.output("cp", { folder .. "/user.pub", folder .. "/authorized" })
    local config = programs.file(folder, "sshd_config", table.concat({
      "ListenAddress 127.0.0.1", "Port " .. port, "HostKey " .. folder .. "/host", "UsePAM no",
      "AuthorizedKeysFile " .. folder .. "/authorized", "StrictModes no", "PidFile none",
      "PermitRootLogin yes", "",
    }, "\n"))
    programs.output("mkdir", { "-p", "/run/sshd" })
    programs.start("/usr/sbin/sshd", { "-D", "-e", "-f", config }, { port = port })
    local p = proxy.start { "-L", "socks5://127.0.0.1:0", "-L", "http://127.0.0.1:0" }
    for index, method in ipairs { "5", "connect" } do
      local said = programs.output("ssh", {
        "-F", "none", "-i", folder .. "/user", "-p", tostring(port), "-o", "StrictHostKeyChecking=no",
        "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o",
        ("ProxyCommand=nc -X %s -x 127.0.0.1:%d %%h %%p"):format(method, p:port(index)),
        "127.0.0.1", "echo through; head -c 3000000 /dev/zero | wc -c",
      }, { seconds = 30 })
      assert.equal("through\n3000000\n", said)
    end
  end))

  it("carries iperf3 through a port forward, both ways", helpers.task(function()
    local port = programs.free_port()
    programs.start("iperf3", { "-s", "--forceflush", "-B", "127.0.0.1", "-p", tostring(port) }, { ready = "listening" })
    local p = proxy.start { "-L", "tcp://127.0.0.1:0/127.0.0.1:" .. port }
    for _, direction in ipairs { "--bidir", "-R" } do
      local said = programs.output("iperf3", {
        "-c", "127.0.0.1", "-p", tostring(p:port(1)), "-n", "64M", "-P", "4", "-J",
        direction })
      assert.is_nil(said:match '"error"')
    end
  end))

  it("answers dig through a UDP forward", helpers.task(function()
    local dns = origin.dnsmasq()
    local p = proxy.start { "-L", "udp://127.0.0.1:0/127.0.0.1:" .. dns }
    for _ = 1, 3 do
      assert.equal("192.0.2.33\n", programs.output("dig", { "@127.0.0.1", "-p", tostring(p:port(1)), "+short",
        "+time=3", "+tries=2", "tidegate.test" }))
    end
  end))

  it("answers DNS through SOCKS5 UDP", helpers.task(function()
    local dns = origin.dnsmasq()
    local p = proxy.start { "-L", "socks5://127.0.0.1:0?udp=true" }
    assert.equal("192.0.2.33\n", programs.output("/usr/bin/python3", { "spec/interop/peers/socks_udp.py", tostring(p:port(1)),
      tostring(dns), "tidegate.test" }))
  end))
end)

describe("chains", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  -- Every kind of hop in turn: what it listens with, how it is dialed.
  local KINDS = {
    { "http://127.0.0.1:0", "http://127.0.0.1:%d" },
    { "socks5+tls://user:pass@127.0.0.1:0", "socks5+tls://user:pass@127.0.0.1:%d" },
    { "relay://127.0.0.1:0", "relay://127.0.0.1:%d" },
    { "socks4://127.0.0.1:0", "socks4a://127.0.0.1:%d" },
    { "relay+tls://u:p@127.0.0.1:0", "relay+tls://u:p@127.0.0.1:%d" },
    { "http+tls://u:p@[::1]:0", "http+tls://u:p@[::1]:%d" },
    { "socks5://[::1]:0", "socks5://[::1]:%d" },
  }

  for _, length in ipairs { 1, 2, 3, 5 } do
    for start = 1, #KINDS, 2 do
      it(("carry traffic over %d hops from kind %d on"):format(length, start), helpers.task(function()
        local web = origin.nginx()
        local far = {}
        for n = 1, length do
          far[#far + 1] = "-L"
          far[#far + 1] = KINDS[(start + n - 2) % #KINDS + 1][1]
        end
        local others = proxy.start(far)
        local near = { "-L", "auto://127.0.0.1:0" }
        for n = 1, length do
          near[#near + 1] = "-F"
          near[#near + 1] = KINDS[(start + n - 2) % #KINDS + 1][2]:format(others:port(n))
        end
        local p = proxy.start(near)
        for _, target in ipairs { "127.0.0.1", "localhost" } do
          assert.equal(("HTTP/1.1 %s\n"):format(target), curl { "-x", "http://127.0.0.1:" .. p:port(1),
            ("http://%s:%d/whoami"):format(target, web.http) })
          assert.equal(("HTTP/2.0 %s\n"):format(target), curl { "-x", "socks5h://127.0.0.1:" .. p:port(1), "-k",
            ("https://%s:%d/whoami"):format(target, web.https) })
        end
        assert.equal("HTTP/1.1 ::1\n", (curl { "-x", "socks5h://127.0.0.1:" .. p:port(1),
          ("http://[::1]:%d/whoami"):format(web.http) }):gsub("[%[%]]", ""))
      end))
    end
  end
end)
