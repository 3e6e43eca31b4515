-- Datagrams through a whole tidegate: forwards, SOCKS5 associations, chains; with dig, dnsmasq, socat
-- and PySocks at the ends.

local datagrams = require "spec.helpers.datagrams"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"

local function dig(port, ...)
  return programs.output("dig", {
    "@127.0.0.1", "-p", tostring(port), "tidegate.test", "+short", "+tries=1", "+time=5", "+notcp", ...,
  }, { seconds = 40 })
end

-- UDP ASSOCIATE by hand.  @return endpoint that carries addresses
local function associate(port)
  local control = assert(stream.dial("127.0.0.1:" .. port))
  control:write "\5\1\0"
  assert.equal("\5\0", control:read_exact(2))
  control:write "\5\3\0\1\0\0\0\0\0\0"
  local reply = control:read_exact(10)
  assert.equal("\5\0\0\1\127\0\0\1", reply:sub(1, 8))
  local endpoint = assert(packet.socks5_client {
    to = ("127.0.0.1:%d"):format(reply:byte(9) * 256 + reply:byte(10)),
  })
  assert(packet.attach(endpoint, control))
  return endpoint
end

describe("datagrams", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("go through a port forward: dig and dnsmasq", helpers.task(function()
    local p = proxy.start { "-L", "udp://127.0.0.1:0/127.0.0.1:" .. origin.dnsmasq() }
    for _ = 1, 5 do
      assert.equal("192.0.2.33\n", dig(p:port(1)))
    end
  end, 60))

  it("go through a port forward to a name, on IPv6 too", helpers.task(function()
    local e, at = datagrams.answering "e"
    local p = proxy.start { "-L", "udp://[::1]:0/localhost:" .. at:match ":(%d+)$" }
    local c = assert(packet.udp { connect = p:address(1) })
    assert.equal("e:x", (datagrams.ask(c, "x")))
    c:close()
    e:close()
  end, 60))

  it("go through socat", helpers.task(function()
    local port = programs.free_port "datagram"
    programs.start("socat", { "UDP4-LISTEN:" .. port .. ",bind=127.0.0.1,fork", "EXEC:cat" }, {})
    local p = proxy.start { "-L", "udp://127.0.0.1:0/127.0.0.1:" .. port .. "?keepalive=true" }
    local c = assert(packet.udp { connect = p:address(1) })
    local answer
    helpers.eventually(function()
      c:set_deadline(require("tidegate.native.task").now() + 300)
      c:send "through socat"
      answer = c:recv()
      return answer
    end)
    assert.equal("through socat", answer)
    c:close()
  end, 60))

  it("take turns over several targets, a new one after each answer", helpers.task(function()
    local a, at_a = datagrams.answering "a"
    local b, at_b = datagrams.answering "b"
    local p = proxy.start { "--workers", "1", "-L", ("udp://127.0.0.1:0/%s,%s?strategy=round"):format(at_a, at_b) }
    local c = assert(packet.udp { connect = p:address(1) })
    local count = { a = 0, b = 0 }
    for _ = 1, 6 do
      local name = datagrams.ask(c, "x"):sub(1, 1)
      count[name] = count[name] + 1
    end
    assert.same({ a = 3, b = 3 }, count)
    for _, it in ipairs { a, b, c } do
      it:close()
    end
  end, 60))

  it("are sessions each when stateless", helpers.task(function()
    local e, at = datagrams.answering "e"
    local p = proxy.start { "-L", "udp://127.0.0.1:0/" .. at .. "?stateless=true" }
    local c = assert(packet.udp { connect = p:address(1) })
    for i = 1, 5 do
      assert.equal("e:" .. i, (datagrams.ask(c, tostring(i))))
    end
    c:close()
    e:close()
  end, 60))

  it("leave no descriptor when clients have gone", helpers.task(function()
    local e, at = datagrams.answering "e"
    local p = proxy.start { "-L", "udp://127.0.0.1:0/" .. at .. "?ttl=1s" }
    local before = p:descriptors()
    for _ = 1, 100 do
      local c = assert(packet.udp { connect = p:address(1) })
      assert.equal("e:x", (datagrams.ask(c, "x")))
      c:close()
    end
    helpers.eventually(function() return p:descriptors() <= before end)
    e:close()
  end, 60))

  it("go through SOCKS5, to addresses and names", helpers.task(function()
    local a, at = datagrams.answering "a"
    local p = proxy.start { "-L", "socks5://127.0.0.1:0?udp=true" }
    local c = associate(p:port(1))
    local bytes, from = datagrams.ask(c, "1", at)
    assert.equal("a:1", bytes)
    assert.equal(at, from)
    assert.equal("a:2", (datagrams.ask(c, "2", "localhost:" .. at:match ":(%d+)$")))
    c:send("nobody", "no-such-name.invalid:9")
    assert.equal("a:3", (datagrams.ask(c, "3", at)))
    local before = p:descriptors()
    c:close()
    helpers.eventually(function() return p:descriptors() <= before - 3 end)
    a:close()
  end, 60))

  it("are refused by SOCKS5 unless allowed", helpers.task(function()
    local p = proxy.start { "-L", "socks5://127.0.0.1:0" }
    local control = assert(stream.dial(p:address(1)))
    control:write "\5\1\0\5\3\0\1\0\0\0\0\0\0"
    assert.equal("\5\0\5\2", control:read_exact(4))
    control:close()
  end, 60))

  it("go through SOCKS5: PySocks", helpers.task(function()
    local e, at = datagrams.answering "e"
    local p = proxy.start { "-L", "socks5://user:pass@127.0.0.1:0?udp=true" }
    local script = [[
import socks, sys
s = socks.socksocket(socks.socket.AF_INET, socks.socket.SOCK_DGRAM)
s.set_proxy(socks.SOCKS5, "127.0.0.1", int(sys.argv[1]), username="user", password="pass")
s.settimeout(5)
for i in range(3):
    s.sendto(b"%d" % i, ("127.0.0.1", int(sys.argv[2])))
    data, peer = s.recvfrom(100)
    print(data.decode(), peer[1] == int(sys.argv[2]))
]]
    assert.equal("e:0 True\ne:1 True\ne:2 True\n",
      programs.output("/usr/bin/python3", { "-c", script, tostring(p:port(1)), at:match ":(%d+)$" }, { seconds = 40 }))
    e:close()
  end, 60))

  -- What stands between the forward and dnsmasq: the services of the proxies, and the chain through them.
  local chains = {
    ["SOCKS5 frames"] = { { "socks5://127.0.0.1:0?udp=true", "socks5://%s" } },
    ["SOCKS5 UDP ASSOCIATE"] = { { "socks5://127.0.0.1:0?udp=true", "socks5://%s?relay=udp" } },
    ["HTTP"] = { { "http://127.0.0.1:0?udp=true", "http://%s" } },
    ["relay"] = { { "relay://127.0.0.1:0", "relay://%s" } },
    ["relay+tls"] = { { "relay+tls://127.0.0.1:0", "relay+tls://%s" } },
    ["SOCKS5, then HTTP, then relay"] = {
      { "socks5://127.0.0.1:0", "socks5://%s" },
      { "http://127.0.0.1:0", "http://%s" },
      { "relay://127.0.0.1:0", "relay://%s" },
    },
    ["relay, then SOCKS5 frames"] = {
      { "relay://127.0.0.1:0", "relay://%s" },
      { "socks5://127.0.0.1:0?udp=true", "socks5://%s" },
    },
  }

  for name, hops in pairs(chains) do
    it("go through a chain: " .. name, helpers.task(function()
      local services = {}
      for _, hop in ipairs(hops) do
        services[#services + 1] = "-L"
        services[#services + 1] = hop[1]
      end
      local far = proxy.start(services)
      local near = { "-L", "udp://127.0.0.1:0/127.0.0.1:" .. origin.dnsmasq() }
      for i, hop in ipairs(hops) do
        near[#near + 1] = "-F"
        near[#near + 1] = hop[2]:format(far:address(i))
      end
      local p = proxy.start(near)
      for _ = 1, 3 do
        assert.equal("192.0.2.33\n", dig(p:port(1)))
      end
    end, 90))
  end

  it("go through an association through a chain", helpers.task(function()
    local e, at = datagrams.answering "e"
    local far = proxy.start {
      "-L", "socks5://127.0.0.1:0?udp=true", "-L", "relay://127.0.0.1:0?bind=true", "-L", "http://127.0.0.1:0?udp=true",
    }
    local connectors = { "socks5://%s", "relay://%s", "http://%s" }
    for i, connector in ipairs(connectors) do
      local p = proxy.start { "-L", "socks5://127.0.0.1:0?udp=true", "-F", connector:format(far:address(i)) }
      local c = associate(p:port(1))
      assert.equal("e:1", (datagrams.ask(c, "1", at)))
      local bytes, from = datagrams.ask(c, "2", "localhost:" .. at:match ":(%d+)$")
      assert.equal("e:2", bytes)
      assert.equal(at, from)
      c:close()
    end
    e:close()
  end, 90))
end)
