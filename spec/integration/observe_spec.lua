-- A whole tidegate that counts, and tells observers.

local cjson = require "cjson"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local LIMIT_MS = 20000

local OBSERVER = [[
local tg = require "tidegate"
local json = require "cjson"
local path = %q
tg.observer("watch", function(events)
  local gate = io.open(path .. ".fail")
  if gate then
    gate:close()
    return nil, "told to fail"
  end
  local file = io.open(path, "a")
  for _, event in ipairs(events) do
    file:write(json.encode(event), "\n")
  end
  file:close()
  return true
end)
]]

local function events_in(path)
  local out = {}
  local file = io.open(path)
  for line in file and file:lines() or function() end do
    out[#out + 1] = cjson.decode(line)
  end
  if file then
    file:close()
  end
  return out
end

local function of_type(path, kind)
  local out = {}
  for _, event in ipairs(events_in(path)) do
    if event.type == kind then
      out[#out + 1] = event
    end
  end
  return out
end

local function open(p, index)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(index or 1), nil, task.now() + LIMIT_MS))
  s:set_deadline(task.now() + LIMIT_MS)
  return s
end

local function ping(s, text)
  s:write(text)
  assert.equal(text, s:read_exact(#text))
end

describe("observers", function()
  local folder, path

  before_each(function()
    folder = programs.folder()
    path = folder .. "/events"
  end)
  after_each(helpers.task(function()
    proxy.stop_all()
    plane.cleanup()
    programs.stop_all()
  end))

  local function start(text, services)
    local script = programs.file(folder, "watch.lua", OBSERVER:format(path))
    local config = programs.file(folder, "c.yml", text)
    return proxy.start({ "-C", config, "-C", script }, { services = services or 1 })
  end

  it("hear of states in their order and of what a service carries", helpers.task(function()
    local echo = plane.echo()
    local p = start(([[
services:
- {name: s, addr: "127.0.0.1:0", observer: watch, handler: {type: tcp}, forwarder: {nodes: [{name: t, addr: "%s"}]},
   metadata: {enableStats: true, observer.period: 1s}}
observers: [{name: watch, plugin: {type: http, addr: "127.0.0.1:1"}}]
]]):format(echo))
    helpers.eventually(function()
      return #of_type(path, "status") >= 2
    end, "no states")
    local states = of_type(path, "status")
    assert.same({ "running", "ready" }, { states[1].status.state, states[2].status.state })
    assert.equal("service s is ready", states[2].status.msg)
    assert.equal("service", states[1].kind)

    local first, second = open(p), open(p)
    ping(first, ("x"):rep(1000))
    ping(second, "ping")
    helpers.eventually(function()
      local all = of_type(path, "stats")
      local stats = all[1] and all[#all].stats
      return stats and stats.inputBytes == 1004 and stats.outputBytes == 1004
    end, "not counted")
    local all = of_type(path, "stats")
    local last = all[#all]
    assert.equal("s", last.service)
    assert.equal("service", last.kind)
    assert.same({ totalConns = 2, currentConns = 2, inputBytes = 1004, outputBytes = 1004, totalErrs = 0 }, last.stats)

    first:close()
    second:close()
    helpers.eventually(function()
      all = of_type(path, "stats")
      return all[#all].stats.currentConns == 0
    end, "connections are not over")
    local count = #all
    task.sleep(1.2)
    assert.equal(count, #of_type(path, "stats")) -- nothing changed, nothing is told
    p:stop()
    states = of_type(path, "status")
    assert.equal("closed", states[#states].status.state)
  end))

  it("are told again what they did not take, and each client's share", helpers.task(function()
    local echo = plane.echo()
    local p = start([[
services:
- name: s
  addr: "127.0.0.1:0"
  handler:
    type: socks5
    observer: watch
    auther: people
    metadata: {observer.period: 1s, observer.resetTraffic: true}
authers: [{name: people, auths: [{username: ann, password: a}, {username: ben, password: b}]}]
observers: [{name: watch, plugin: {type: http, addr: "127.0.0.1:1"}}]
]])
    programs.file(folder, "events.fail", "")
    local host, port = echo:match "^(.*):(%d+)$"
    local function visit(user, password, text)
      local s = open(p)
      s:write("\5\1\2")
      assert.equal("\5\2", s:read_exact(2))
      s:write("\1" .. string.char(#user) .. user .. string.char(#password) .. password)
      assert.equal("\1\0", s:read_exact(2))
      local a, b, c, d = host:match "(%d+)%.(%d+)%.(%d+)%.(%d+)"
      s:write("\5\1\0\1" .. string.char(a, b, c, d, math.floor(port / 256), port % 256))
      s:read_exact(10)
      ping(s, text)
      s:close()
    end
    visit("ann", "a", ("x"):rep(100))
    p:logged "observer watch: .*sent again later"
    os.remove(path .. ".fail")
    helpers.eventually(function()
      return #of_type(path, "stats") >= 1
    end, "not told again")
    local first = of_type(path, "stats")[1]
    assert.equal("handler", first.kind)
    assert.equal("ann", first.client)
    assert.equal(1, first.stats.totalConns)
    assert.equal(0, first.stats.currentConns)
    assert.is_true(first.stats.inputBytes >= 100 and first.stats.inputBytes < 200)
    visit("ann", "a", "12345")
    visit("ben", "b", "1")
    helpers.eventually(function()
      local seen = {}
      for _, event in ipairs(of_type(path, "stats")) do
        seen[event.client] = event.stats
      end
      return seen.ben and seen.ann.totalConns == 2
    end, "clients are not told apart")
    for _, event in ipairs(of_type(path, "stats")) do
      if event.client == "ann" and event.stats.totalConns == 2 then
        assert.is_true(event.stats.inputBytes < 100) -- bytes since the event before
      end
    end
    p:logged "observer watch: works again"
    assert.equal(1, select(2, p:log():gsub("sent again later", "")))
  end))

  it("see wire bytes, handshakes included, and errors that count", helpers.task(function()
    local nobody = plane.nobody()
    local p = start(([[
services:
- {name: tls, addr: "127.0.0.1:0", observer: watch, handler: {type: http}, listener: {type: tls},
   metadata: {enableStats: true, observer.period: 1s}}
- {name: dead, addr: "127.0.0.1:0", observer: watch, handler: {type: tcp},
   forwarder: {nodes: [{name: t, addr: "%s"}]}, metadata: {enableStats: true, observer.period: 1s}}
observers: [{name: watch, plugin: {type: http, addr: "127.0.0.1:1"}}]
]]):format(nobody), 2)
    programs.run("openssl", { "s_client", "-connect", "127.0.0.1:" .. p:port(1) }, { stdin = "x", seconds = 40 })
    for _ = 1, 3 do
      local s = open(p, 2)
      s:read()
      s:close()
    end
    local function last(name)
      local found
      for _, event in ipairs(of_type(path, "stats")) do
        found = event.service == name and event.stats or found
      end
      return found
    end
    helpers.eventually(function()
      local one, two = last "tls", last "dead"
      return one and one.inputBytes > 250 and one.outputBytes > 500 and two and two.totalErrs == 3
    end, "not counted")
    assert.equal(3, last("dead").totalConns)
    assert.equal(1, last("tls").totalConns)
  end))

  it("go on for the others when a service that shares them is gone", helpers.task(function()
    local echo = plane.echo()
    local text = [[
services:
%s- {name: kept, addr: "127.0.0.1:0", observer: watch, handler: {type: tcp}, forwarder: {nodes: [{name: t,
   addr: "]] .. echo .. [["}]}, metadata: {enableStats: true, observer.period: 1s}}
observers: [{name: watch, plugin: {type: http, addr: "127.0.0.1:1"}}]
]]
    local p = start(text:format [[
- {name: gone, addr: "127.0.0.1:0", observer: watch, handler: {type: http}, metadata: {enableStats: true}}
]], 2)
    helpers.eventually(function()
      return #of_type(path, "status") >= 4
    end, "no states")
    programs.file(folder, "c.yml", text:format "")
    p:kill "sighup"
    p:logged("configuration reloaded", true)
    helpers.eventually(function()
      local states = of_type(path, "status")
      local last = states[#states]
      return last.service == "gone" and last.status.state == "closed" and last.status.msg == "service gone is closed"
    end, "the end was not told")
    local one = open(p, 2)
    ping(one, "12345")
    helpers.eventually(function()
      local all = of_type(path, "stats")
      return all[1] and all[#all].service == "kept" and all[#all].stats.inputBytes == 5
    end, "nobody is told any more")
    one:close()
  end))

  it("are not needed to see a service's state and counts over the API", helpers.task(function()
    local echo, api = plane.echo(), programs.free_port()
    local p = start(([[
services:
- {name: s, addr: "127.0.0.1:0", handler: {type: tcp}, forwarder: {nodes: [{name: t, addr: "%s"}]},
   quotas: [q], metadata: {enableStats: true}}
- {name: plain, addr: "127.0.0.1:0", handler: {type: http}}
quotas: [{name: q, limit: 1MB, store: {file: "%s/quota.json"}}]
api: {addr: "127.0.0.1:%d"}
]]):format(echo, folder, api), 2)
    local function status(name)
      local text = programs.output("curl", { "-s", ("http://127.0.0.1:%d/config/services/%s"):format(api, name) })
      return cjson.decode(text).data.status
    end
    programs.wait_port(api)
    local one = open(p)
    ping(one, "12345")
    local seen
    helpers.eventually(function() -- the echo may be here before it is counted
      seen = status "s"
      return seen.stats.outputBytes >= 5
    end, "not counted")
    assert.equal("ready", seen.state)
    assert.is_true(math.abs(seen.createTime - os.time()) < 60)
    assert.equal(3, #seen.events)
    assert.equal("service s is running", seen.events[1].msg)
    assert.equal("service s is ready", seen.events[2].msg)
    assert.equal("service s is listening on 127.0.0.1:" .. p:port(1), seen.events[3].msg)
    assert.same({ totalConns = 1, currentConns = 1, totalErrs = 0, inputBytes = 5, outputBytes = 5 }, seen.stats)
    assert.is_nil(seen.stoppedByLimit)
    assert.equal("q", seen.quotas[1].name)
    assert.equal("total", seen.quotas[1].direction)
    assert.is_nil(status("plain").stats)
    one:close()
  end))
end)
