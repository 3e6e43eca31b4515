-- A whole tidegate that chooses among proxies which die and come back.

local helpers = require "spec.helpers"
local luv = require "luv"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local redis = require "tidegate.net.redis"
local redis_server = require "spec.helpers.redis"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local LIMIT_MS = 20000

local folder

local function write(name, text)
  local path = folder .. "/" .. name
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

local function start(text, services)
  return proxy.start({ "-C", write("config.yaml", text) }, { services = services or 1 })
end

-- A proxy that can be killed and revived on its port; "relay" speaks at once, so it is known to be there.
local function backend(port)
  local p = proxy.start { "-L", "socks5://127.0.0.1:" .. (port or 0) }
  return p, p:port(1)
end

-- Open a tunnel through a tcp forwarder and see that it works.  @return stream | nil
local function tunnel(p)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
  s:set_deadline(task.now() + LIMIT_MS)
  s:write "x"
  if s:read_exact(1) == "x" then
    return s
  end
  s:close()
end

local function works(p)
  local s = tunnel(p)
  if s then
    s:close()
  end
  return s ~= nil
end

-- How many tunnels a proxy has carried so far.
local function count(p)
  return select(2, p:log():gsub(" <%-> ", ""))
end

local function node(name, port, more)
  return ("{name: %s, addr: '127.0.0.1:%d', connector: {type: socks5}, dialer: {type: tcp}%s}"):format(name, port,
    more or "")
end

describe("selection", function()
  before_each(function()
    folder = programs.folder()
  end)
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    plane.cleanup()
  end))

  it("leaves a proxy whose probe fails, and comes back to it", helpers.task(function()
    local a, port_a = backend()
    local b, port_b = backend()
    local probe = ", probe: {type: tcp, addr: x, interval: 50ms, timeout: 1s}, metadata: {failTimeout: 1h}"
    local p = start(([[
services: [{name: s, addr: "127.0.0.1:0", handler: {type: tcp, chain: c}, listener: {type: tcp},
  forwarder: {nodes: [{name: t, addr: "%s"}]}}]
chains: [{name: c, hops: [{name: h, selector: {strategy: fifo}, nodes: [%s, %s]}]}]
]]):format(plane.echo(), node("a", port_a, probe), node("b", port_b, probe)))
    p:logged "node h/a is up"
    p:logged "node h/b is up"
    for _ = 1, 4 do
      assert.is_true(works(p))
    end
    helpers.eventually(function()
      return count(a) == 4
    end)
    assert.same(0, count(b))

    a:stop "sigkill"
    p:logged "node h/a is down: "
    for _ = 1, 4 do
      assert.is_true(works(p))
    end
    helpers.eventually(function()
      return count(b) == 4
    end)

    a = backend(port_a)
    helpers.eventually(function()
      return select(2, p:log():gsub("node h/a is up", "")) == 2
    end)
    assert.is_true(works(p))
    helpers.eventually(function()
      return count(a) == 1
    end)
    assert.same(1, select(2, p:log():gsub("node h/a is down", ""))) -- once for two workers and many probes
  end))

  it("changes to another chain when one fails, and fails when all do", helpers.task(function()
    local a, port_a = backend()
    local b, port_b = backend()
    local p = start(([[
services: [{name: s, addr: "127.0.0.1:0", listener: {type: tcp}, handler: {type: tcp, retries: 1, chainGroup: {
  selector: {strategy: fifo}, chains: [a, {chain: b}]}}, forwarder: {nodes: [{name: t, addr: "%s"}]}}]
chains: [{name: a, hops: [{name: ha, nodes: [%s]}]}, {name: b, hops: [{name: hb, nodes: [%s]}]}]
]]):format(plane.echo(), node("a", port_a), node("b", port_b)))
    assert.is_true(works(p))
    helpers.eventually(function()
      return count(a) == 1
    end)
    a:stop "sigkill"
    for _ = 1, 3 do
      assert.is_true(works(p))
    end
    helpers.eventually(function()
      return count(b) == 3
    end)
    b:stop "sigkill"
    assert.is_false(works(p))
    assert.is_false(works(p))
    p:logged("all chains of the group have failed", true)
  end))

  it("revives a chain by the probe of its entry", helpers.task(function()
    local a, port_a = backend()
    local b, port_b = backend()
    local echo = plane.echo()
    local p = start(([[
services: [{name: s, addr: "127.0.0.1:0", listener: {type: tcp}, handler: {type: tcp, chainGroup: {
  selector: {strategy: fifo, failTimeout: 1h},
  chains: [{chain: a, probe: {addr: "%s", interval: 50ms, timeout: 1s}}, b]}}, forwarder: {nodes: [{name: t,
  addr: "%s"}]}}]
chains: [{name: a, hops: [{name: ha, nodes: [%s]}]}, {name: b, hops: [{name: hb, nodes: [%s]}]}]
]]):format(echo, echo, node("a", port_a), node("b", port_b)))
    p:logged "chain a of service s is up"
    a:stop "sigkill"
    p:logged "chain a of service s is down"
    assert.is_true(works(p))
    helpers.eventually(function()
      return count(b) == 1
    end)
    a = backend(port_a)
    helpers.eventually(function()
      return select(2, p:log():gsub("chain a of service s is up", "")) == 2
    end)
    assert.is_true(works(p))
    helpers.eventually(function()
      return count(a) > 0
    end, "the chain that is up again is not used")
    assert.same(1, count(b))
  end))

  it("races a dead and a silent node against a live one", helpers.task(function()
    local a, port_a = backend()
    local dead = plane.nobody()
    local p = proxy.start { "-L", "tcp://127.0.0.1:0/" .. plane.echo(),
      "-F", ("socks5://%s,192.0.2.1:1080,127.0.0.1:%d?strategy=parallel"):format(dead, port_a) }
    for _ = 1, 4 do
      local began = task.now()
      assert.is_true(works(p))
      assert.is_true(task.now() - began < 3000)
    end
    helpers.eventually(function()
      return count(a) == 4
    end)
  end))

  it("spreads tunnels by how many each target has, over all workers", helpers.task(function()
    local open, addresses = {}, {}
    for i = 1, 3 do
      open[i] = 0
      addresses[i] = plane.accept(function(s)
        open[i] = open[i] + 1
        s:write(tostring(i))
        s:read() -- until the client leaves
        s:close()
        open[i] = open[i] - 1
      end)
    end
    local p = proxy.start { "-L", "tcp://127.0.0.1:0/" .. table.concat(addresses, ",") .. "?strategy=leastconn" }
    local tunnels = {}
    local function more(times)
      for _ = 1, times do
        local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
        s:set_deadline(task.now() + LIMIT_MS)
        tunnels[#tunnels + 1] = { stream = s, home = tonumber(s:read_exact(1)) }
      end
    end
    local closed = 0
    local function close(home)
      for _, one in ipairs(tunnels) do
        if not one.stream:is_closed() and (not home or one.home == home) then
          one.stream:close()
          closed = closed + 1
        end
      end
      helpers.eventually(function()
        return select(2, p:log():gsub(" >%-< ", "")) == closed
      end)
    end
    more(30)
    assert.same({ 10, 10, 10 }, open)
    close(2) -- whoever comes next goes there
    more(8)
    assert.same({ 10, 8, 10 }, open)
    more(5)
    assert.same(11, math.max(unpack(open)))
    close()
    more(6)
    assert.same({ 2, 2, 2 }, open)
    close()
  end))

  it("spreads sessions of datagrams in the same way", helpers.task(function()
    local peers, addresses, sockets = {}, {}, {}
    for i = 1, 2 do
      local server = luv.new_udp()
      server:bind("127.0.0.1", 0)
      peers[i], sockets[#sockets + 1] = {}, server
      server:recv_start(function(_, data, from)
        if data then
          peers[i][from.port] = true
          server:send(data, from.ip, from.port, function() end)
        end
      end)
      addresses[i] = "127.0.0.1:" .. server:getsockname().port
    end
    local p = start(([[
services: [{name: s, addr: "127.0.0.1:0", handler: {type: udp}, listener: {type: udp, metadata: {keepalive: true,
  ttl: 10s}}, forwarder: {selector: {strategy: leastconn}, nodes: [
  {name: a, addr: "%s", metadata: {weight: 3}}, {name: b, addr: "%s"}]}}]
]]):format(addresses[1], addresses[2]))
    local answers = 0
    for _ = 1, 8 do -- one after the other: whose answer came has a session
      local before, client = answers, luv.new_udp()
      sockets[#sockets + 1] = client
      client:recv_start(function(_, data)
        answers = answers + (data and 1 or 0)
      end)
      client:send("x", "127.0.0.1", p:port(1), function() end)
      helpers.eventually(function()
        return answers > before
      end)
    end
    local counts = {}
    for i = 1, 2 do
      counts[i] = 0
      for _ in pairs(peers[i]) do
        counts[i] = counts[i] + 1
      end
    end
    for _, socket in ipairs(sockets) do
      socket:close()
    end
    assert.same({ 6, 2 }, counts)
  end))

  it("sends targets to the proxies their rules name", helpers.task(function()
    local a, port_a = backend()
    local b, port_b = backend()
    local echo = plane.echo()
    local port = tonumber(echo:match ":(%d+)$")
    local p = start(([[
services: [{name: s, addr: "127.0.0.1:0", handler: {type: http, chain: c}, listener: {type: tcp}}]
chains: [{name: c, hops: [{name: h, nodes: [%s, %s]}]}]
]]):format(node("a", port_a, ", matcher: {rule: 'Host(`localhost`)'}"),
      node("b", port_b, ", matcher: {rule: 'Host(`127.0.0.1`) && Network(`tcp`)'}")))
    for _, host in ipairs { "localhost", "127.0.0.1", "localhost" } do
      local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
      s:set_deadline(task.now() + LIMIT_MS)
      s:write(("CONNECT %s:%d HTTP/1.1\r\n\r\n"):format(host, port))
      assert.is_truthy(s:read_until("\r\n\r\n", 4096):find "^HTTP/1.1 200")
      s:write "x"
      assert.same("x", s:read_exact(1))
      s:close()
    end
    helpers.eventually(function()
      return count(a) == 2 and count(b) == 1
    end)
  end))

  it("goes around a proxy whose bypass contains the target", helpers.task(function()
    local a, port_a = backend()
    local echo = plane.echo()
    local function through(bypass)
      local p = proxy.start { "-L", "http://127.0.0.1:0", "-F",
        ("socks5://127.0.0.1:%d?bypass=%s"):format(port_a, bypass) }
      local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
      s:set_deadline(task.now() + LIMIT_MS)
      s:write(("CONNECT %s HTTP/1.1\r\n\r\n"):format(echo))
      assert.is_truthy(s:read_until("\r\n\r\n", 4096):find "^HTTP/1.1 200")
      s:close()
      p:stop()
    end
    through "127.0.0.0/8"
    through "~*.example.com"
    assert.same(0, count(a))
    through "*.example.com"
    through "~127.0.0.1"
    helpers.eventually(function()
      return count(a) == 2
    end)
  end))

  it("takes nodes from a file, and follows its changes", helpers.task(function()
    local a, port_a = backend()
    local b, port_b = backend()
    local function nodes(port)
      return ('[{"name": "n", "addr": "127.0.0.1:%d", "connector": {"type": "socks5"}, "dialer": {"type": "tcp"},'
        .. ' "probe": {"type": "tcp", "addr": "x", "interval": 50000000, "timeout": 1000000000}}]'):format(port)
    end
    local path = write("nodes.json", nodes(port_a))
    local p = start(([[
services: [{name: s, addr: "127.0.0.1:0", handler: {type: tcp, chain: c}, listener: {type: tcp},
  forwarder: {nodes: [{name: t, addr: "%s"}]}}]
chains: [{name: c, hops: [{name: h, file: {path: "%s"}}]}]
]]):format(plane.echo(), path))
    assert.is_true(works(p))
    helpers.eventually(function()
      return count(a) == 1
    end)
    p:logged "node h/n is up"

    write("nodes.json", nodes(port_b))
    helpers.eventually(function()
      return works(p) and count(b) > 0
    end)
    write("nodes.json", "[{") -- makes no sense: the nodes stay
    p:logged "hop h: file: "
    local before = count(b)
    assert.is_true(works(p))
    helpers.eventually(function()
      return count(b) == before + 1
    end)
  end))

  it("takes nodes from Redis and a URL, and keeps them when these are gone", helpers.task(function()
    local a, port_a = backend()
    local b, port_b = backend()
    local function nodes(name, port)
      return ('[{"name": "%s", "addr": "127.0.0.1:%d", "connector": {"type": "socks5"}, "dialer": {"type": "tcp"}}]')
        :format(name, port)
    end
    local up = true
    local url = plane.accept(function(s)
      s:read_until("\r\n\r\n", 8192)
      local body = nodes("b", port_b)
      s:write(up and ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"):format(#body) .. body
        or "HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
      s:close()
    end)
    local server = redis_server.start()
    local client = redis.open { addr = server.addr }
    assert(client:call("SET", "proxies", nodes("a", port_a)))
    local p = start(([[
services: [{name: s, addr: "127.0.0.1:0", handler: {type: tcp, chain: c}, listener: {type: tcp},
  forwarder: {nodes: [{name: t, addr: "%s"}]}}]
chains: [{name: c, hops: [{name: h, reload: 1s, redis: {addr: "%s", key: proxies}, http: {url: "http://%s/"}}]}]
]]):format(plane.echo(), server.addr, url))
    local function spread()
      local before_a, before_b = count(a), count(b)
      for _ = 1, 4 do
        assert.is_true(works(p))
      end
      helpers.eventually(function()
        return count(a) - before_a + count(b) - before_b == 4
      end)
      return count(a) - before_a, count(b) - before_b
    end
    assert.same({ 2, 2 }, { spread() })

    up = false
    client:close()
    server.process:stop "sigkill"
    p:logged("what was read before stays", true)
    helpers.eventually(function()
      return select(2, p:log():gsub("what was read before stays", "")) == 2
    end)
    assert.same({ 2, 2 }, { spread() })
  end))

  it("refuses a rule that makes no sense, saying where", function()
    local path = write("bad.yaml", [[
services:
- name: s
  addr: 127.0.0.1:0
  handler: {type: tcp, chain: c}
  listener: {type: tcp}
chains:
- name: c
  hops:
  - name: h
    nodes:
    - name: n
      addr: 127.0.0.1:1
      connector: {type: socks5}
      dialer: {type: tcp}
      matcher:
        rule: Host(`a`) && Hots(`b`)
]])
    local result = proxy.run { "-C", path }
    assert.is_true(result.code ~= 0)
    local place = path .. ":16: chains[0].hops[0].nodes[0].matcher.rule: rule, column 14: there is no function "
      .. '"Hots"; did you mean Host?'
    assert.is_truthy((result.stderr .. result.stdout):find(place, 1, true), result.stderr)
  end)
end)
