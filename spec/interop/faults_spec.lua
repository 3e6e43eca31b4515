-- What a whole tidegate asks while it works: Redis, web servers, plugins, name servers.  Each of them dies,
-- hangs and answers garbage; each time the documented default holds, the log has one line when it begins and
-- one when it is over, and all is well again by itself.

local base64 = require "tidegate.net.http.base64"
local gate = require "spec.helpers.gate"
local helpers = require "spec.helpers"
local nameservers = require "spec.helpers.nameservers"
local origin = require "spec.helpers.origin"
local plane = require "spec.helpers.plane"
local plugin_server = require "spec.helpers.plugin_server"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local redis = require "tidegate.net.redis"
local redis_server = require "spec.helpers.redis"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local LIMIT_MS = 15000
local FAULTS = { "dead", "hang", "garbage" }
local CLOSED = "closed" -- without a word

local SERVICE = [[
services:
- { name: s, addr: "127.0.0.1:0", logger: quiet, %s, handler: { type: http%s } }
loggers: [ { name: quiet, log: { output: none } } ]
]]
local AUTHER = SERVICE:format("metadata: {}", ", auther: people")
  .. "authers: [ { name: people, reload: 1s, %s } ]\n"
local ADMISSION = SERVICE:format("admission: a", "") .. "admissions: [ { name: a, plugin: %s } ]\n"
local RESOLVER = SERVICE:format("resolver: r", "")
  .. 'resolvers: [ { name: r, nameservers: [ { addr: "%s", hostname: "%s", ttl: -1s, timeout: 1s } ] } ]\n'

-- A source of users: what it said last holds, and what is new there comes when it can.
local function loader(start)
  return {
    host = "127.0.0.1", ill = "200", fails = "what was read before stays", works = "the source %w+ works again",
    start = start,
  }
end

local function plugin(protocol)
  return {
    host = "127.0.0.1", ill = CLOSED, fails = "plugin [^\n]* fails", works = "plugin [^\n]* works again",
    start = function()
      local before = gate.before(plugin_server.start(protocol).port)
      local addr = (protocol == "http" and "http://%s/admission" or "%s"):format(before.address)
      return before, ADMISSION:format(("{ type: %s, addr: '%s', timeout: 1s }"):format(protocol, addr))
    end,
  }
end

local function resolver(start)
  return {
    host = "origin.test", ill = "503", fails = "nameserver [^\n]*; others are asked first",
    works = "nameserver [^\n]* works again", start = start,
  }
end

local function dnsmasq(scheme)
  return resolver(function()
    local before = gate.before(origin.dnsmasq { ["origin.test"] = "127.0.0.1" })
    return before, RESOLVER:format(scheme .. before.address, "")
  end)
end

local SOURCES = {
  ["items in Redis"] = loader(function()
    local server = redis_server.start()
    local c = redis.open { addr = server.addr }
    local before = gate.before(server.port)
    return before, AUTHER:format(("redis: { addr: '%s', timeout: 1s }"):format(before.address)), function(user)
      assert(c:call("HSET", "gost", user, "p"))
    end
  end),
  ["items of a web server"] = loader(function()
    local nginx = origin.nginx()
    local before = gate.before(nginx.http)
    local users = ""
    return before, AUTHER:format(("http: { url: 'http://%s/users', timeout: 1s }"):format(before.address)),
      function(user)
        users = users .. user .. " p\n"
        programs.file(nginx.www, "users", users)
      end
  end),
  ["a plugin over HTTP"] = plugin "http",
  ["a plugin over gRPC"] = plugin "grpc",
  ["a name server, asked by UDP"] = dnsmasq "udp://",
  ["a name server, asked by TCP"] = dnsmasq "tcp://",
  ["a name server, asked by TLS"] = resolver(function()
    local _, port, ca = nameservers.unbound()
    local before = gate.before(port)
    return before, RESOLVER:format("tls://" .. before.address, "dns.test"), nil, ca
  end),
  ["a name server, asked by HTTPS"] = resolver(function()
    local port = programs.free_port()
    local _, _, ca = nameservers.unbound(("  interface: 127.0.0.1@%d\n  https-port: %d\n"):format(port, port))
    local before = gate.before(port)
    return before, RESOLVER:format(("https://%s/dns-query"):format(before.address), "dns.test"), nil, ca
  end),
}

-- The status of a user's request through the proxy.
local function ask(p, user, target)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
  s:set_deadline(task.now() + LIMIT_MS)
  s:write(("GET http://%s/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nProxy-Authorization: Basic %s\r\n\r\n")
    :format(target, base64.encode(user .. ":p")))
  local line, err = s:read_until("\r\n", 1000)
  s:close()
  if not line then
    assert.is_truthy(err.code == "eof" or err.code == "reset", tostring(err))
    return CLOSED
  end
  return line:match " (%d+) "
end

local function web()
  return plane.accept(function(s)
    if s:read_until("\r\n\r\n", 4096) then
      s:write "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    end
    s:close()
  end):match ":(%d+)$"
end

describe("when there is trouble with", function()
  local before

  after_each(helpers.task(function()
    proxy.stop_all()
    before:close()
    plane.cleanup()
    programs.stop_all()
  end))

  for name, source in pairs(SOURCES) do
    it(name .. ", what is documented holds, is told once, and is over by itself", helpers.task(function()
      local text, add, ca
      before, text, add, ca = source.start()
      if add then
        add "u0"
      end
      local p = proxy.start({ "-C", programs.file(programs.folder(), "c.yml", text) },
        { services = 1, env = ca and { SSL_CERT_FILE = ca } })
      local target = source.host .. ":" .. web()
      assert.equal("200", ask(p, "u0", target), p:log())

      for i, fault in ipairs(FAULTS) do
        local function told(fails, works)
          local log = p:log()
          return select(2, log:gsub(source.fails, "")) == fails and select(2, log:gsub(source.works, "")) == works
        end
        before:be(fault)
        helpers.eventually(function()
          return ask(p, "u0", target) == source.ill and told(i, i - 1)
        end, fault .. " was not told\n" .. p:log())
        for _ = 1, 2 do -- by whichever worker, and with another reading of a source in between
          assert.equal(source.ill, ask(p, "u0", target), fault)
          task.sleep(add and 0.8 or 0)
        end
        local user = add and "u" .. i or "u0"
        if add then
          add(user)
          assert.equal("407", ask(p, user, target))
        end
        assert.is_true(told(i, i - 1), p:log())

        before:be "well"
        helpers.eventually(function()
          return ask(p, user, target) == "200" and told(i, i)
        end, fault .. " is not over\n" .. p:log())
        for _ = 1, 4 do
          assert.equal("200", ask(p, user, target), fault)
        end
        assert.is_true(told(i, i), p:log())
      end
      p:stop()
      before:close()
    end, 90))
  end
end)
