-- Admissions and bypasses in a whole tidegate: what clients of every protocol see when they are turned
-- away, files that change, and where a hop or a node steps aside.

local helpers = require "spec.helpers"
local mmdb = require "spec.helpers.mmdb"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local scene = require "spec.helpers.scene"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local own, stop_all, test, udp_echo = scene.own, scene.stop_all, scene.test, scene.udp_echo

local function hello()
  return scene.web "hello"
end

-- @return status, curl's exit code, the answer
local function curl(...)
  local result = programs.run("curl", { "-sS", "--max-time", "20", "-w", "\n%{http_code} %{http_connect}", ... })
  local body, status, connect = result.stdout:match "^(.-)\n?(%d+) (%d+)$"
  return tonumber(connect) > 0 and tonumber(connect) or tonumber(status), result.code, body
end

local function raw(port)
  local s = own(assert(stream.dial("127.0.0.1:" .. port)))
  s:set_deadline(task.now() + 20000)
  return s
end

local function config_file(text)
  local folder = programs.folder()
  return programs.file(folder, "config.yml", text), folder
end

describe("bypass of a service", function()
  after_each(helpers.task(stop_all))

  it("is answered with 403 by http", test(function()
    local port = hello()
    local p = proxy.start { "-L", "http://127.0.0.1:0?bypass=127.0.0.1,*.blocked.test:80-90", "-D" }
    local via = "http://127.0.0.1:" .. p:port(1)
    assert.equal(403, (curl("-x", via, "http://127.0.0.1:" .. port .. "/")))
    assert.equal(403, (curl("-p", "-x", via, "http://127.0.0.1:" .. port .. "/")))
    assert.equal(403, (curl("-x", via, "http://a.blocked.test/")))
    local status, _, body = curl("-x", via, "http://localhost:" .. port .. "/")
    assert.same({ 200, "hello" }, { status, body })
    -- a connection that goes on after a refusal
    local s = raw(p:port(1))
    s:write("GET http://localhost:" .. port .. "/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert.matches("^HTTP/1.1 200", s:read_until("hello", 65536))
    p:logged '"level":"debug"[^\n]*bypass: 127.0.0.1'
    assert.not_matches('"level":"warn"', p:log())
    assert.not_matches('"level":"error"', p:log())
  end))

  it("lets nothing but a whitelist pass", test(function()
    local port = hello()
    local p = proxy.start { "-L", "http://127.0.0.1:0?bypass=~127.0.0.1,.ok.test" }
    local via = "http://127.0.0.1:" .. p:port(1)
    assert.equal(200, (curl("-x", via, "http://127.0.0.1:" .. port .. "/")))
    assert.equal(403, (curl("-x", via, "http://localhost:" .. port .. "/")))
    assert.equal(503, (curl("-x", via, "http://a.ok.test/")))
  end))

  it("is answered with 2 by socks5 and 92 by socks4", test(function()
    local port = hello()
    local p = proxy.start { "-L", "auto://127.0.0.1:0?bypass=127.0.0.1:" .. port }
    local target = ("\127\0\0\1%s%s"):format(string.char(math.floor(port / 256)), string.char(port % 256))
    local s = raw(p:port(1))
    s:write "\5\1\0"
    assert.equal("\5\0", s:read_exact(2))
    s:write("\5\1\0\1" .. target)
    assert.equal("\5\2\0", s:read_exact(3))
    s = raw(p:port(1))
    s:write("\4\1" .. target:sub(5) .. target:sub(1, 4) .. "\0")
    assert.equal("\0\92", s:read_exact(2))
    assert.equal(97, select(2, curl("--socks5", "127.0.0.1:" .. p:port(1), "http://127.0.0.1:" .. port .. "/")))
    assert.equal(200, (curl("--socks5-hostname", "127.0.0.1:" .. p:port(1), "http://localhost:" .. port .. "/")))
  end))

  it("is answered with 3 by relay, over streams and datagrams", test(function()
    local p = proxy.start { "-L", "relay://127.0.0.1:0?bypass=127.0.0.1" }
    for _, command in ipairs { "\1\1", "\1\129" } do -- CONNECT, the same for UDP
      local s = raw(p:port(1))
      s:write(command .. "\0\10\2\0\7\1\127\0\0\1\0\80")
      assert.equal("\1\3", s:read_exact(2))
    end
  end))

  it("drops datagrams of associations", test(function()
    local good, bad = udp_echo(), udp_echo()
    for _, bypass in ipairs { "127.0.0.1:" .. bad, "~127.0.0.1:" .. good, "~localhost" } do
      local p = proxy.start { "-L", "socks5://127.0.0.1:0?udp=true&bypass=" .. bypass }
      local control = raw(p:port(1))
      control:write "\5\1\0"
      control:read_exact(2)
      control:write "\5\3\0\1\0\0\0\0\0\0"
      local reply = control:read_exact(10)
      local endpoint = own(assert(packet.socks5_client {
        to = ("127.0.0.1:%d"):format(reply:byte(9) * 256 + reply:byte(10)),
      }))
      assert(packet.attach(endpoint, control))
      endpoint:set_deadline(task.now() + 20000)
      local host = bypass == "~localhost" and "localhost" or "127.0.0.1"
      for i = 1, 3 do
        endpoint:send("no", "127.0.0.1:" .. bad)
        endpoint:send("yes" .. i, host .. ":" .. good)
        assert.equal("yes" .. i, (endpoint:recv()))
      end
      p:stop()
    end
  end))

  -- protocol, parameters of both sides: what has no word for it closes the connection, or the channel
  for _, row in ipairs {
    { "ss", "ss://aes-256-gcm:secret@127.0.0.1:%d", "" }, { "sshd", "sshd://u:p@127.0.0.1:%d", "" },
    { "relay over TLS", "relay+tls://127.0.0.1:%d", "" }, { "http2", "http2://127.0.0.1:%d", "" },
    { "a sniffed name", "http://127.0.0.1:%d", "&sniffing=true" },
  } do
    it("is no more than a debug line, and ends what was asked for: " .. row[1], test(function()
      local port, log = hello(), nil
      local far = proxy.start { "-L", row[2]:format(0) .. "?bypass=127.0.0.1" .. row[3], "-D" }
      local near = proxy.start { "-L", "http://127.0.0.1:0", "-F", row[2]:format(far:port(1)) }
      local via = "http://127.0.0.1:" .. near:port(1)
      local status = curl("-p", "-x", via, "http://localhost:" .. port .. "/")
      assert.equal(200, status)
      local _, code, body = curl("-p", "-x", via, "http://127.0.0.1:" .. port .. "/")
      assert.not_equal(0, code)
      assert.not_equal("hello", body)
      far:logged('"msg":"[^"]*bypass: 127.0.0.1:' .. port)
      log = far:log()
      assert.not_matches('"level":"warn"', log)
      assert.not_matches('"level":"error"', log)
    end))
  end

  it("drops datagrams by Shadowsocks", test(function()
    local good, bad = udp_echo(), udp_echo()
    local far = proxy.start { "-L", "ssu://aes-256-gcm:x@127.0.0.1:0?bypass=127.0.0.1:" .. bad, "-D" }
    local near = proxy.start {
      "-L", "udp://127.0.0.1:0/127.0.0.1:" .. bad, "-L", "udp://127.0.0.1:0/127.0.0.1:" .. good,
      "-F", "ssu://aes-256-gcm:x@127.0.0.1:" .. far:port(1),
    }
    local refused = own(assert(packet.udp { connect = near:address(1) }))
    local admitted = own(assert(packet.udp { connect = near:address(2) }))
    for i = 1, 3 do
      refused:send "no"
      admitted:send("yes" .. i)
      admitted:set_deadline(task.now() + 20000)
      assert.equal("yes" .. i, (admitted:recv()))
    end
    refused:set_deadline(task.now() + 100)
    assert.is_nil((refused:recv()))
    assert.not_matches('"level":"warn"', far:log())
    assert.not_matches('"level":"error"', far:log())
  end))

  it("closes the TLS of a forwarder whose client names what is refused, and answers HTTP with 403", test(function()
    local port = hello()
    local file = config_file(([[
services:
- {name: s, addr: "127.0.0.1:0", bypass: names, handler: {type: tcp, metadata: {sniffing: true}},
   forwarder: {nodes: [{name: t, addr: "127.0.0.1:%d"}]}}
bypasses: [{name: names, matchers: [.no.test]}]
]]):format(port))
    local p = proxy.start({ "-C", file, "-D" }, { services = 1 })
    local to = "::127.0.0.1:" .. p:port(1)
    local base = ":" .. p:port(1) .. "/"
    assert.equal(403, (curl("--connect-to", to, "http://a.no.test" .. base)))
    assert.equal(200, (curl("--connect-to", to, "http://a.yes.test" .. base)))
    assert.not_equal(0, (select(2, curl("-k", "--connect-to", to, "https://a.no.test" .. base))))
    p:logged("bypass: a.no.test:443", true)
  end))

  it("does not concern targets of the service's own", test(function()
    local port = hello()
    local p = proxy.start {
      "-L", "tcp://127.0.0.1:0/127.0.0.1:" .. port .. "?bypass=~other.test",
      "-L", "udp://127.0.0.1:0/127.0.0.1:" .. udp_echo() .. "?bypass=~other.test",
    }
    assert.equal(200, (curl("http://127.0.0.1:" .. p:port(1) .. "/")))
    local socket = own(assert(packet.udp { connect = "127.0.0.1:" .. p:port(2) }))
    socket:set_deadline(task.now() + 20000)
    socket:send "x"
    assert.equal("x", (socket:recv()))
  end))

  it("follows its files", test(function()
    local port = hello()
    local file, folder = config_file(([[
services:
- {name: s, addr: "127.0.0.1:0", bypass: b, handler: {type: http}, listener: {type: tcp}}
bypasses:
- name: b
  matchers: [a.test, "geoip:XX"]
  file: {path: %(folder)s/list}
  ruleset:
  - %(folder)s/rules
  - {file: %(folder)s/hosts, format: hosts}
  mmdb: {country: %(folder)s/c.mmdb}
]]):gsub("%%%(folder%)s", programs.folder()))
    folder = io.open(file):read("*a"):match "path: (%S+)/list"
    programs.file(folder, "list", "localhost # by name\n")
    programs.file(folder, "rules", "server=/r.test/1.1.1.1\nregexp:^re[0-9]+\\.test$\n")
    programs.file(folder, "hosts", "0.0.0.0 h.test\n")
    mmdb.write(folder .. "/c.mmdb", mmdb.countries { { "192.0.2.0/24", "XX" } })
    local p = proxy.start({ "-C", file }, { services = 1 })
    local via = "http://127.0.0.1:" .. p:port(1)
    for _, host in ipairs { "a.test", "localhost:" .. port, "x.r.test", "re7.test", "h.test", "192.0.2.7" } do
      assert.equal(403, (curl("-x", via, "http://" .. host .. "/")), host)
    end
    assert.equal(200, (curl("-x", via, "http://127.0.0.1:" .. port .. "/")))

    local function eventually(status, url)
      helpers.eventually(function()
        return curl("-x", via, url) == status
      end, url, 10)
    end
    programs.file(folder, "list", "other.test\n")
    eventually(200, "http://localhost:" .. port .. "/")
    programs.file(folder, "rules", "localhost\n")
    eventually(403, "http://localhost:" .. port .. "/")
    mmdb.write(folder .. "/c.mmdb", mmdb.countries { { "127.0.0.0/8", "XX" } })
    eventually(403, "http://127.0.0.1:" .. port .. "/")
    assert.equal(403, (curl("-x", via, "http://a.test/")))
    -- a file that is gone changes nothing
    os.remove(folder .. "/rules")
    p:logged "what was there before stays"
    assert.equal(403, (curl("-x", via, "http://localhost:" .. port .. "/")))
  end))

  it("is refused with a file that is not there", test(function()
    local file = config_file [[
services:
- {name: s, addr: "127.0.0.1:0", bypass: b, handler: {type: http}, listener: {type: tcp}}
bypasses:
- {name: b, ruleset: [/nowhere/list]}
]]
    local result = proxy.run { "-C", file }
    assert.equal(2, result.code)
    assert.matches("bypasses%[0%]%.ruleset%[0%]%.file: no such file or directory: /nowhere/list", result.stderr)
  end))
end)

describe("bypass of a hop", function()
  after_each(helpers.task(stop_all))

  for what, hop in pairs {
    ["on the command line"] = function(url)
      return { "-L", "http://127.0.0.1:0", "-F", url }
    end,
    ["of a URL that a script makes"] = function(url)
      local path = programs.file(programs.folder(), "script.lua", ([[
local tg = require "tidegate"
tg.chain("made", function(ctx) return { %q } end)
tg.service { name = "s", addr = "127.0.0.1:0", handler = "http", chain = "made" }
]]):format(url))
      return { "-C", path }
    end,
    ["that a script declares"] = function(url)
      local path = programs.file(programs.folder(), "script.lua", ([[
local tg = require "tidegate"
tg.bypass("list", { "127.0.0.1", ".near.test" })
tg.chain("made", { { nodes = { { addr = %q, connector = "socks5", dialer = "tcp" } }, bypass = "list" } })
tg.service { name = "s", addr = "127.0.0.1:0", handler = "http", chain = "made" }
]]):format(url:match "//([^?]+)"))
      return { "-C", path }
    end,
  } do
    it("ends the route: " .. what, test(function()
      local port, nobody = hello(), programs.free_port()
      local p = proxy.start(hop("socks5://127.0.0.1:" .. nobody .. "?bypass=127.0.0.1,.near.test"), { services = 1 })
      local via = "http://127.0.0.1:" .. p:port(1)
      assert.equal(200, (curl("-x", via, "http://127.0.0.1:" .. port .. "/")))
      assert.equal(503, (curl("-x", via, "http://localhost:" .. port .. "/")))
      assert.equal(200, (curl("-x", via, "http://127.0.0.1:" .. port .. "/")))
    end))
  end

  it("of a node leaves the others", test(function()
    local port = hello()
    local other = proxy.start { "-L", "socks5://127.0.0.1:0" }
    local file = config_file(([[
services:
- {name: s, addr: "127.0.0.1:0", handler: {type: http, chain: c}, listener: {type: tcp}}
chains:
- name: c
  hops:
  - name: h
    nodes:
    - {name: a, addr: "127.0.0.1:%d", connector: {type: socks5}, bypass: b}
    - {name: b, addr: "127.0.0.1:%d", connector: {type: socks5}}
bypasses:
- {name: b, matchers: [localhost]}
]]):format(programs.free_port(), other:port(1)))
    local p = proxy.start({ "-C", file }, { services = 1 })
    local via = "http://127.0.0.1:" .. p:port(1)
    for _ = 1, 4 do
      assert.equal(200, (curl("-x", via, "http://localhost:" .. port .. "/")))
    end
  end))
end)

describe("a script's", function()
  after_each(helpers.task(stop_all))

  it("bypass and admission decide, and keep people out when they raise", test(function()
    local port = hello()
    local path = programs.file(programs.folder(), "script.lua", [[
local tg = require "tidegate"
tg.bypass("b", function(ctx, network, address, info)
  if address:find "^raise" then error "oops" end
  return address:find "^localhost:" ~= nil
end)
tg.admission("a", function(ctx, network, address)
  return network == "tcp" and address:find "^127%.0%.0%.1:" ~= nil
end)
tg.admission("broken", function() error "oops" end)
tg.service { name = "s", addr = "127.0.0.1:0", handler = "http", bypass = "b", admission = "a" }
tg.service { name = "t", addr = "127.0.0.1:0", handler = "http", admissions = { "a", "broken" } }
]])
    local p = proxy.start({ "-C", path }, { services = 2 })
    local via = "http://127.0.0.1:" .. p:port(1)
    assert.equal(200, (curl("-x", via, "http://127.0.0.1:" .. port .. "/")))
    assert.equal(403, (curl("-x", via, "http://localhost:" .. port .. "/")))
    assert.equal(403, (curl("-x", via, "http://raise.test/")))
    assert.is_nil((raw(p:port(2)):read()))
    p:logged 'script.lua:3: oops'
  end))
end)

describe("admission", function()
  after_each(helpers.task(stop_all))

  it("closes connections of refused clients without a byte", test(function()
    local p = proxy.start {
      "-L", "http://127.0.0.1:0?admission=127.0.0.1", "-L", "http://127.0.0.1:0?admission=~127.0.0.0/8", "-D",
    }
    local s = raw(p:port(1))
    s:write "GET / HTTP/1.1\r\n\r\n"
    local bytes, err = s:read()
    assert.is_nil(bytes)
    assert.is_truthy(err.code == "eof" or err.code == "reset")
    p:logged("admission: 127.0.0.1:%d+ is denied")
    assert.not_matches('"level":"[iwe]%w+","msg":"127%.0%.0%.1', p:log()) -- nothing but that line
    local port = hello()
    assert.equal(200, (curl("-x", "http://127.0.0.1:" .. p:port(2), "http://127.0.0.1:" .. port .. "/")))
  end))

  it("drops datagrams of refused peers", test(function()
    local echo = udp_echo()
    local p = proxy.start {
      "-L", "udp://127.0.0.1:0/127.0.0.1:" .. echo .. "?admission=127.0.0.1",
      "-L", "udp://127.0.0.1:0/127.0.0.1:" .. echo .. "?admission=~127.0.0.1",
    }
    local refused = own(assert(packet.udp { connect = "127.0.0.1:" .. p:port(1) }))
    local admitted = own(assert(packet.udp { connect = "127.0.0.1:" .. p:port(2) }))
    refused:send "x"
    admitted:set_deadline(task.now() + 20000)
    admitted:send "y"
    assert.equal("y", (admitted:recv()))
    refused:set_deadline(task.now() + 300)
    assert.is_nil((refused:recv()))
  end))

  it("asks for the client that a PROXY header names", test(function()
    local port = hello()
    local p = proxy.start { "-L", "http://127.0.0.1:0?proxyProtocol=1&admission=192.0.2.7" }
    for source, expected in pairs { ["192.0.2.7"] = false, ["192.0.2.8"] = true } do
      local s = raw(p:port(1))
      s:write(("PROXY TCP4 %s 127.0.0.1 1000 80\r\n"):format(source))
      s:write(("GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n"):format(port))
      assert.equal(expected, s:read() ~= nil, source)
    end
  end))
end)
