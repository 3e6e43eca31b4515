-- Remote port forwarding: rtcp and runix listen at the far end of a chain.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local function echoes(where, text)
  local s = stream.dial(where, nil, task.now() + 2000)
  if not s then
    return false
  end
  s:set_deadline(task.now() + 20000)
  s:write(text)
  local same = s:read_exact(#text) == text
  s:close()
  return same
end

-- Where the far end says it listens.
local function bound(p)
  p:logged "bound %S+/"
  return p:log():match "bound (%S-)/%w+, "
end

describe("remote port forwarding", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  for _, scheme in ipairs { "relay", "socks5", "relay+mtls", "socks5+ws" } do
    it("carries connections back over " .. scheme, helpers.task(function()
      local address, stop = server.echo()
      local far = proxy.start { "-L", scheme .. "://127.0.0.1:0?bind=true" }
      local near = proxy.start {
        "-L", "rtcp://127.0.0.1:0/" .. address, "-F", ("%s://127.0.0.1:%d"):format(scheme, far:port(1)),
      }
      local where = bound(near)
      local done = {}
      for i = 1, 30 do
        done[i] = helpers.spawn(echoes, where, ("x%d"):format(i):rep(i == 1 and 200000 or 3))
      end
      for i = 1, 30 do
        assert.is_true(done[i]())
      end
      near:logged('"listener":"rtcp"', true)
      stop()
    end))
  end

  it("says who connects", helpers.task(function()
    local address, stop = server.echo()
    local far = proxy.start { "-L", "relay://127.0.0.1:0?bind=true" }
    local near = proxy.start {
      "-L", "rtcp://127.0.0.1:0/" .. address, "-F", ("relay://127.0.0.1:%d"):format(far:port(1)),
    }
    local s = assert(stream.dial(bound(near)))
    local me = s:local_address()
    near:logged(me .. " <>", true)
    s:close()
    stop()
  end))

  it("asks again until the far end is there, and when it comes back", helpers.task(function()
    local address, stop = server.echo()
    local port, shown = programs.free_port(), programs.free_port()
    local near = proxy.start {
      "-L", ("rtcp://127.0.0.1:%d/%s"):format(shown, address), "-F", ("relay://127.0.0.1:%d"):format(port),
    }
    near:logged "cannot listen.*refused.*again in 1 s"
    for _ = 1, 2 do
      local far = proxy.start { "-L", ("relay://127.0.0.1:%d?bind=true"):format(port) }
      helpers.eventually(function()
        return echoes("127.0.0.1:" .. shown, "hello")
      end, "not bound again", 15)
      far:stop()
    end
    near:logged("the remote listener is lost", true)
    stop()
  end))

  it("says which side is wrong", helpers.task(function()
    local far = proxy.start { "-L", "relay://127.0.0.1:0", "-L", "http://127.0.0.1:0" }
    local near = proxy.start {
      "-L", "rtcp://127.0.0.1:0/127.0.0.1:1", "-F", ("relay://127.0.0.1:%d"):format(far:port(1)),
    }
    near:logged "relay 127.0.0.1:%d+: .*forbidden"
    far:logged("BIND is not enabled", true)
    near:stop()
    near = proxy.start {
      "-L", "rtcp://127.0.0.1:0/127.0.0.1:1", "-F", ("http://127.0.0.1:%d"):format(far:port(2)),
    }
    near:logged("the connector http cannot have its server listen", true)
  end))

  it("listens here without a chain", helpers.task(function()
    local address, stop = server.echo()
    local p = proxy.start { "-L", "rtcp://127.0.0.1:0/" .. address }
    assert.is_true(echoes(bound(p), "hello"))
    stop()
  end))

  it("listens nowhere when its chain has no node, rather than here", helpers.task(function()
    local near = proxy.start({ "-C", programs.file(programs.folder(), "c.yml", [[
services:
- {name: back, addr: "127.0.0.1:0", handler: {type: tcp}, listener: {type: rtcp, chain: way},
   forwarder: {nodes: [{name: a, addr: "127.0.0.1:1"}]}}
chains:
- name: way
  hops:
  - {name: h, bypass: all, nodes: [{name: n, addr: "127.0.0.1:1", connector: {type: relay}, dialer: {type: tcp}}]}
bypasses: [{name: all, matchers: ["0.0.0.0/0"]}]
]]) }, { services = 1 })
    near:logged "cannot listen: .*the chain has no node to listen at"
    assert.is_nil(near:log():find("bound ", 1, true))
  end))

  it("chooses among chains, goes on with another, and needs none when told so", helpers.task(function()
    local address, stop = server.echo()
    local gone, shown = programs.free_port(), programs.free_port()
    local far = proxy.start { "-L", "relay://127.0.0.1:0?bind=true" }
    local near = proxy.start({ "-C", programs.file(programs.folder(), "c.yml", ([[
services:
- name: back
  addr: 127.0.0.1:%d
  handler: {type: tcp}
  listener: {type: rtcp, chainGroup: {selector: {strategy: fifo}, chains: [
    {chain: gone, probe: {addr: "127.0.0.1:1", interval: 50ms, timeout: 1s}},
    {chain: never, matcher: {rule: "Network(`udp`)"}}, way]}}
  forwarder: {nodes: [{name: a, addr: "%s"}]}
- name: here
  addr: 127.0.0.1:0
  handler: {type: tcp}
  listener: {type: rtcp, chain: gone, chainGroup: {chains: [gone]}}
  forwarder: {nodes: [{name: a, addr: "%s"}]}
  metadata: {ignoreChain: true}
chains:
- name: gone
  hops: [{name: h, nodes: [{name: lost, addr: "127.0.0.1:%d", connector: {type: relay}, dialer: {type: tcp}}]}]
- name: never
  hops: [{name: h, nodes: [{name: x, addr: "127.0.0.1:%d", connector: {type: relay}, dialer: {type: tcp}}]}]
- name: way
  hops: [{name: h, nodes: [{name: good, addr: "127.0.0.1:%d", connector: {type: relay}, dialer: {type: tcp}}]}]
]]):format(shown, address, address, gone, gone, far:port(1))) }, { services = 2 })
    near:logged "bound 127.0.0.1:%d+/tcp, here"
    near:logged "chain gone of service back is down"
    near:logged(("bound 127.0.0.1:%d/tcp, good@"):format(shown))
    assert.is_true(echoes("127.0.0.1:" .. shown, "hello"))
    stop()
  end))

  it("listens on unix sockets of the far end", helpers.task(function()
    local address, stop = server.echo()
    local path = programs.folder() .. "/far.sock"
    local far = proxy.start { "-L", "relay://127.0.0.1:0?bind=true" }
    local near = proxy.start({ "-C", programs.file(programs.folder(), "c.yml", ([[
services:
- name: back
  addr: %s
  handler: {type: tcp}
  listener: {type: runix, chain: way}
  forwarder: {nodes: [{name: a, addr: "%s"}]}
chains:
- name: way
  hops: [{name: h, nodes: [{name: n, addr: "127.0.0.1:%d", connector: {type: relay}, dialer: {type: tcp}}]}]
]]):format(path, address, far:port(1))) }, { services = 1 })
    near:logged("bound " .. path, true)
    assert.is_true(echoes("unix:" .. path, "hello"))
    stop()
  end))
end)
