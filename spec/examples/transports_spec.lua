-- Examples of transports, run as their first lines say.

local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local uv = require "luv"

describe("examples of transports", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("grpc-tunnel.yml carries what enters near to far", helpers.task(function()
    local web = origin.nginx()
    local near, far = programs.free_port(), programs.free_port()
    local p = proxy.start({ "-C", examples.adapted("examples/grpc-tunnel.yml", { [8080] = near, [8443] = far }) },
      { services = 2 })
    for _, scheme in ipairs { "http", "socks5h" } do
      assert.equal("HTTP/1.1 127.0.0.1\n", origin.curl { "-x", ("%s://127.0.0.1:%d"):format(scheme, near),
        ("http://127.0.0.1:%d/whoami"):format(web.http) })
    end
    p:logged("far@127.0.0.1:" .. far, true)
  end))

  it("ws-chain.yml carries what enters near through middle to far", helpers.task(function()
    local web = origin.nginx()
    local near, middle, far = programs.free_port(), programs.free_port(), programs.free_port()
    local p = proxy.start({ "-C", examples.adapted("examples/ws-chain.yml", {
      [8080] = near, [9001] = middle, [9002] = far }) }, { services = 3 })
    for _ = 1, 3 do
      assert.equal("HTTP/1.1 127.0.0.1\n", origin.curl { "-x", ("http://127.0.0.1:%d"):format(near),
        ("http://127.0.0.1:%d/whoami"):format(web.http) })
    end
    p:logged(("middle@127.0.0.1:%d > far@127.0.0.1:%d"):format(middle, far), true)
  end))

  it("reverse-udp.yml offers the names of here over there", helpers.task(function()
    local dns, shown = origin.dnsmasq(), programs.free_port()
    local far = proxy.start { "-L", "relay+tls://user:pass@127.0.0.1:0?bind=true" }
    local near = proxy.start({ "-C", examples.adapted("examples/reverse-udp.yml", {
      ["127.0.0.1:53"] = "127.0.0.1:" .. dns,
      ["addr: :5353"] = "addr: 127.0.0.1:" .. shown,
      ["192.0.2.1:8443"] = "127.0.0.1:" .. far:port(1),
    }) }, { services = 1 })
    near:logged "bound %S+/udp, relay@"
    local done = programs.output("dig", { "@127.0.0.1", "-p", tostring(shown), "tidegate.test", "+short", "+notcp" })
    assert.equal("192.0.2.33\n", done)
  end))

  it("dns-records.yml records questions", helpers.task(function()
    local dns, port, folder = origin.dnsmasq(), programs.free_port(), programs.folder()
    proxy.start({ "-C", examples.adapted("examples/dns-records.yml", {
      [5300] = port, ['"127.0.0.1:53"'] = ('"127.0.0.1:%d"'):format(dns), ["192.0.2.53:53"] = "127.0.0.1:1",
      ["/var/log"] = folder,
    }) }, { services = 2 })
    for _, more in ipairs { "+notcp", "+tcp" } do
      assert.equal("192.0.2.33\n", programs.output("dig", { "@127.0.0.1", "-p", tostring(port), "tidegate.test",
        "+short", more }))
    end
    helpers.eventually(function()
      local file = io.open(folder .. "/questions.json")
      local _, count = (file and file:read "*a" or ""):gsub('"name":"tidegate.test."', "")
      return count == 2
    end)
  end))

  it("serial.yml leads a port to a server, and records it", helpers.task(function()
    local folder = programs.folder()
    local address, stop = server.echo()
    local far = proxy.start { "-L", "relay+tls://user:pass@127.0.0.1:0/" .. address }
    programs.start("socat", { ("pty,raw,echo=0,link=%s/port"):format(folder),
      ("SYSTEM:printf hello; head -c 5 >%s/got; sleep 60"):format(folder) })
    helpers.eventually(function()
      return uv.fs_stat(folder .. "/port")
    end)
    proxy.start({ "-C", examples.adapted("examples/serial.yml", {
      ["/dev/ttyUSB0"] = folder .. "/port",
      ["192.0.2.1:8443"] = "127.0.0.1:" .. far:port(1),
      ["/var/log"] = folder,
    }) }, { services = 1 })
    helpers.eventually(function()
      local file = io.open(folder .. "/tool.log")
      local text = file and file:read "*a" or ""
      return text:find(">%d+%-%d+%-%d+ [%d:.]+\n00000000  68 65 6c 6c 6f .*<%d") and text:find("|hello|.*|hello|")
    end)
    proxy.stop_all()
    stop()
  end))
end)
