-- spec: alone, timeout=300
-- Reloads that add, change and remove objects, again and again, while connections come and go.

local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local LIMIT_MS = 20000
local RELOADS = 200
local CLIENTS = 8

local path, target, ports

local function write(text)
  local file = assert(io.open(path .. ".new", "w"))
  file:write(text)
  file:close()
  os.rename(path .. ".new", path)
end

-- The configuration of one round.  The first service stays as it is, the second changes its policies, the
-- third comes and goes.
local function configuration(round)
  local text = ([[
services:
- name: kept
  addr: 127.0.0.1:%d
  handler: { type: socks5 }
- name: changed
  addr: 127.0.0.1:%d
  bypass: list-%d
  handler: { type: http, auther: people-%d, chain: way }
]]):format(ports[1], ports[2], round % 3, round % 2)
  if round % 2 == 1 then
    text = text .. ("- name: guest\n  addr: 127.0.0.1:%d\n  handler: { type: http }\n"):format(ports[3])
  end
  return text .. ([[
bypasses:
- name: list-%d
  matchers: [ "refused-%d.test", "10.0.0.0/8" ]
authers:
- name: people-%d
  auths: [ { username: ann, password: secret }, { username: guest-%d, password: x } ]
chains:
- name: way
  hops:
  - name: hop-%d
    nodes: [ { name: n, addr: "127.0.0.1:%d", connector: { type: socks5 } } ]
]]):format(round % 3, round, round % 2, round, round % 4, ports[1])
end

-- A CONNECT with credentials.  @return status, stream when it is 200
local function connect(port, address)
  local s, err = stream.dial("127.0.0.1:" .. port, nil, task.now() + LIMIT_MS)
  if not s then
    return tostring(err)
  end
  s:set_deadline(task.now() + LIMIT_MS)
  s:write(("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n"):format(address))
  local head
  head, err = s:read_until("\r\n\r\n", 8192)
  local status = head and tonumber(head:match "^HTTP/1%.%d (%d+)")
  if status ~= 200 then
    s:close()
    return status or tostring(err)
  end
  return 200, s
end

local function echoes(s, text)
  s:set_deadline(task.now() + LIMIT_MS)
  s:write(text)
  local answer, err = s:read_exact(#text)
  return answer == text or tostring(err)
end

-- Connections one after the other, until told to stop.  @return how many, and what went wrong
local function client(state)
  while not state.over do
    local status, s = connect(ports[2], target)
    local fine = status == 200 and echoes(s, "ping") or status
    if s then
      s:close()
    end
    state.count = state.count + 1
    if fine ~= true then
      state.wrong[#state.wrong + 1] = tostring(fine)
    end
  end
  state.clients = state.clients - 1
  if state.clients == 0 then
    state.waiter:wake(true)
  end
end

describe("reloading", function()
  local p

  setup(function()
    path = programs.folder() .. "/gost.yml"
    target = plane.echo()
    ports = { programs.free_port(), programs.free_port(), programs.free_port() }
    write(configuration(0))
    p = proxy.start({ "-C", path, "--workers", "2" }, { services = 2 })
  end)

  teardown(function()
    proxy.stop_all()
  end)

  local function reload(count)
    p:kill "sighup"
    for _ = 1, LIMIT_MS / 5 do
      if select(2, p:log():gsub("configuration reloaded", "")) >= count then
        return
      end
      task.sleep(0.005)
    end
    error("no reload:\n" .. p:log():sub(-2000))
  end

  it(("loses no connection in %d reloads"):format(RELOADS), function()
    local _, old = connect(ports[2], target)
    local state = { count = 0, wrong = {}, clients = CLIENTS, waiter = task.waiter() }
    for _ = 1, CLIENTS do
      task.spawn(client, state)
    end
    for round = 1, RELOADS do
      write(configuration(round))
      reload(round)
      if round % 20 == 1 then
        local status, s = connect(ports[3], target)
        assert.equal(200, status, "the service that came")
        s:close()
        assert.equal(403, (connect(ports[2], ("refused-%d.test:80"):format(round))))
      end
    end
    state.over = true
    assert(state.waiter:wait(task.now() + LIMIT_MS))
    assert.same({}, state.wrong)
    assert.is_true(state.count > RELOADS)
    assert.is_true(echoes(old, "still there"), "a connection from before")
    old:close()
  end)

  it("changes nothing when the new configuration is wrong, and says all that is", function()
    write(configuration(1):gsub("type: socks5 }\n", "type: sox }\n", 1):gsub("auther: people%-1", "auther: nobody"))
    p:kill "sighup"
    p:logged "the running configuration stays in force"
    p:logged('unknown handler \\"sox\\"', true)
    p:logged('there is no auther \\"nobody\\"', true)
    local status, s = connect(ports[2], target)
    assert.equal(200, status)
    assert.is_true(echoes(s, "ping"))
    s:close()
  end)
end)

-- Everything that can be configured, a little different each time.
local EVERYTHING = [[
scripts: [ @folder/s.lua ]
services:
- name: s
  addr: 127.0.0.1:@one
  admission: admission
  bypasses: [ inline, file, script, redis ]
  resolver: resolver
  hosts: hosts
  limiter: limiter
  climiter: climiter
  rlimiter: rlimiter
  quotas: [ quota ]
  cache: memory
  observer: observer
  recorders:
  - { name: http, record: recorder.service.handler }
  - { name: redis, record: recorder.service.client.address }
  handler:
    type: http
    authers: [ people, script, plugin ]
    chainGroup: { chains: [ direct, hop ], selector: { strategy: mine } }
    limiter: limiter
    observer: observer
  metadata: { enableStats: true }
- { name: turn-@turn, addr: "127.0.0.1:0", handler: { type: socks5 } }
authers:
- name: people
  auths: [ { username: user-@round, password: p } ]
  file: { path: @folder/items }
  redis: { addr: "127.0.0.1:@dead" }
  http: { url: "http://127.0.0.1:@dead/" }
  reload: 1s
  lockout: { failures: 3 }
- { name: plugin, plugin: { type: http, addr: "http://127.0.0.1:@dead/@round" } }
- { name: grpc, plugin: { type: grpc, addr: "127.0.0.1:@dead", token: t@round } }
admissions: [ { name: admission, matchers: [ 10.@turn.0.1 ], file: { path: @folder/items }, reload: 1s } ]
bypasses:
- { name: inline, matchers: [ x@round.test, "*.y@round.test" ] }
- { name: file, file: { path: @folder/items }, matchers: [ q@round ], reload: 1s, ruleset: [ @folder/items ] }
- { name: redis, redis: { addr: "127.0.0.1:@dead", key: k@round }, reload: 1s }
resolvers:
- name: resolver
  nameservers: [ { addr: "udp://127.0.0.1:@dead" }, { addr: "tls://127.0.0.1:@dead" }, { addr: system } ]
hosts:
- { name: hosts, mappings: [ { ip: 127.0.0.1, hostname: m@round.test } ], file: { path: @folder/hosts }, reload: 1s }
ingresses: [ { name: i, rules: [ { hostname: a@round, endpoint: b } ], http: { url: "http://127.0.0.1:@dead/" } } ]
routers: [ { name: r, install: false, routes: [ { dst: 10.@turn.0.0/16, gateway: 10.0.0.1 } ] } ]
sds: [ { name: sd-@turn } ]
limiters: [ { name: limiter, limits: [ "$ @roundMB", "$$ 9MB" ], file: { path: @folder/items }, reload: 1s } ]
climiters: [ { name: climiter, limits: [ "$ @round0" ] } ]
rlimiters: [ { name: rlimiter, limits: [ "$ @round000" ] } ]
quotas: [ { name: quota, limit: @roundGB, store: { type: file, file: @folder/quota.json } } ]
observers: [ { name: observer, plugin: { type: http, addr: "http://127.0.0.1:@dead/@round" } } ]
recorders:
- { name: http, http: { url: "http://127.0.0.1:@dead/@round" } }
- { name: redis, redis: { addr: "127.0.0.1:@dead", key: k@round, type: list } }
- { name: file, file: { path: @folder/records-@turn } }
caches:
- { name: memory, memory: { maxSize: 1@round, cleanupInterval: 1s } }
- { name: redis, redis: { addr: "127.0.0.1:@dead", key: k@round } }
rewriters: [ { name: w, plugin: { type: http, addr: "http://127.0.0.1:@dead/@round" } } ]
loggers: [ { name: l, log: { output: @folder/log-@turn } } ]
hops:
- name: hop
  reload: 1s
  http: { url: "http://127.0.0.1:@dead/" }
  nodes:
  - name: n@round
    addr: 127.0.0.1:@one
    probe: { type: tcp, addr: "127.0.0.1:@dead", interval: 1s, timeout: 1s }
chains:
- name: direct
  hops:
  - name: d
    nodes: [ { name: d, addr: "127.0.0.1:1", connector: { type: direct }, dialer: { type: direct } } ]
- { name: hop, hops: [ { name: hop } ] }
]]

local SCRIPT = [[
local tg = require "tidegate"
tg.bypass("script", function() return false end)
tg.auther("script", function() return true end)
tg.selector("mine", function(items) return items[1] end)
tg.every(0.05, function() tg.shared.count:incr("n", 1) end)
tg.spawn(function() while true do tg.sleep(0.5) end end)
tg.on("request", function(next, ctx, ...) return next(ctx, ...) end)
tg.wrap("bypass", "inline", function(next, ...) return next(...) end)
tg.wrap("bypass", "inline", function(next, ...) return next(...) end)
]]

describe("reloading everything", function()
  it("leaves nothing behind", helpers.task(function()
    local folder, listening, dead = programs.folder(), programs.free_port(), programs.free_port()
    programs.file(folder, "s.lua", SCRIPT)
    programs.file(folder, "items", "x.test\n10.9.0.0/16\n")
    programs.file(folder, "hosts", "192.0.2.1 a.test\n")
    path = folder .. "/all.yaml"
    local function configure(round)
      local values = { folder = folder, one = listening, dead = dead, round = round, turn = round % 3 }
      write((EVERYTHING:gsub("@(%l+)", values)))
    end
    configure(1)
    local p = proxy.start({ "-C", path }, { services = 2 })
    local before = {}
    local function reload(rounds, from)
      for round = from, from + rounds - 1 do
        configure(round)
        local done = select(2, p:log():gsub("configuration reloaded", ""))
        p:kill "sighup"
        helpers.eventually(function()
          return select(2, p:log():gsub("configuration reloaded", "")) > done
        end, "no reload\n" .. p:log():sub(-2000), 20)
        if round % 10 == 0 then
          local _, s = connect(listening, "127.0.0.1:" .. dead)
          if s then
            s:close()
          end
        end
      end
    end
    reload(40, 2)
    task.sleep(2) -- what is old ends, probes and readings of what is new begin
    before.descriptors, before.rss = p:descriptors(), p:rss()
    reload(160, 42)
    task.sleep(2)
    helpers.eventually(function()
      return p:descriptors() <= before.descriptors + 4
    end, ("%d descriptors, %d before"):format(p:descriptors(), before.descriptors))
    assert.is_true(p:rss() < before.rss * 1.25 + 2048, ("%d KiB, %d before"):format(p:rss(), before.rss))
    assert.is_nil(p:log():match '[^\n]*"msg":"raised[^\n]*')
    assert.is_nil(p:log():match '[^\n]*"msg":"reload:[^\n]*')
    local code = p:stop()
    assert.equal(0, code)
    programs.stop_all()
  end, 240))
end)
