-- The main job with the programs people use: curl, a browser, ssh, dig.

local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local curl = origin.curl

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
      -- -4: newer releases take localhost for ::1, where the origin is not
      assert.equal("HTTP/1.1 localhost\n", curl { "-4", "-x", via, "-k", "--http1.1",
        ("https://localhost:%d/whoami"):format(web.https) })
      assert.equal("HTTP/2.0 localhost\n", curl { "-4", "-x", via, "-k", "--http2",
        ("https://localhost:%d/whoami"):format(web.https) })
    end))
  end

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
      p:logged("localhost:" .. web.https, true)
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
    assert.equal("192.0.2.33\n", programs.output("/usr/bin/python3", { "spec/interop/peers/socks_udp.py",
      tostring(p:port(1)), tostring(dns), "tidegate.test" }))
  end))
end)
