-- spec: alone, no-asan, timeout=240
-- SIGUSR2: a new process takes the listening sockets over, and nobody notices.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

local function forward(name, addr, target)
  return ('  - {name: %s, addr: "%s", handler: {type: tcp}, listener: {type: tcp}, '
    .. 'forwarder: {nodes: [{name: t, addr: "%s"}]}}\n'):format(name, addr, target)
end

local function greeting(address)
  local s, err = stream.dial(address, nil, task.now() + 20000)
  if not s then
    return nil, tostring(err)
  end
  s:set_deadline(task.now() + 20000)
  local text
  text, err = s:read()
  s:close()
  return text, tostring(err)
end

-- What the old process has logged once it has ended.
local function successor(p)
  helpers.eventually(function()
    return p.process.over
  end, "the old process does not end", 20)
  return p:log()
end

describe("an upgrade", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("loses no connection of 500 a second", helpers.task(function()
    local target, stop = server.echo "hello"
    local path = programs.file(programs.folder(), "c.yml", "services:\n" .. forward("a", "127.0.0.1:0", target))
    local p = proxy.start({ "-C", path, "--drain", "20s" }, { services = 1 })
    local address = p:address(1)
    local long = assert(stream.dial(address))
    assert.equal("hello", long:read())

    local started, good, bad, running = 0, 0, {}, 0
    local from, limit = task.now(), task.now() + 4000
    local told = false
    while task.now() < limit do
      local due = math.floor((task.now() - from) / 2)
      while started < due do
        started, running = started + 1, running + 1
        task.spawn(function()
          local text, err = greeting(address)
          if text == "hello" then
            good = good + 1
          else
            bad[#bad + 1] = tostring(err)
          end
          running = running - 1
        end)
      end
      if not told and task.now() - from > 1000 then
        told = true
        p:kill "sigusr2"
      end
      task.sleep(0.002)
    end
    helpers.eventually(function()
      return running == 0
    end, nil, 20)
    assert.same({}, bad)
    assert.is_true(good >= 1500, ("only %d of %d were made"):format(good, started))
    assert.matches("upgrade: starting a new process", p:log(), 1, true)

    assert.is_falsy(p.process.over) -- it waits for the connection it has
    long:write "ping"
    assert.equal("ping", long:read())
    long:close()
    successor(p)
    assert.equal(0, p.process.code)
    assert.equal("hello", greeting(address))
    stop()
  end, 60))

  it("answers every datagram meanwhile", helpers.task(function()
    local echo = uv.new_udp()
    echo:bind("127.0.0.1", 0)
    echo:recv_start(function(_, data, from)
      if data then
        task.spawn(function()
          task.sleep(0.05) -- so that answers are on their way when the other process takes over
          echo:send(data, from.ip, from.port)
        end)
      end
    end)
    local folder = programs.folder()
    local repl = folder .. "/repl.sock"
    local path = programs.file(folder, "c.yml", ([[
services:
  - {name: d, addr: "127.0.0.1:0", handler: {type: udp, metadata: {keepalive: true, ttl: 5s}},
     listener: {type: udp, metadata: {keepalive: true, ttl: 5s}}, forwarder: {nodes: [{name: t, addr: "127.0.0.1:%d"}]}}
]]):format(echo:getsockname().port))
    local p = proxy.start({ "-C", path, "--drain", "20s", "-repl", repl }, { services = 1 })
    local port = p:port(1)
    local clients, sent, heard, doubled = {}, 0, 0, 0
    local function client()
      local one = { socket = uv.new_udp(), open = {} }
      one.socket:recv_start(function(_, data)
        if data then
          doubled = doubled + (one.open[data] and 0 or 1)
          heard = heard + (one.open[data] and 1 or 0)
          one.open[data] = nil
        end
      end)
      clients[#clients + 1] = one
      return one
    end
    local function ask(one)
      sent = sent + 1
      one.open[tostring(sent)] = true
      one.socket:send(tostring(sent), "127.0.0.1", port)
    end
    for _ = 1, 20 do
      client()
    end
    local over, result
    task.spawn(function()
      task.sleep(0.5)
      result = proxy.run { "upgrade", "-socket", repl }
      task.sleep(1)
      over = true
    end)
    while not over or sent <= 1000 do
      for i = 1, 20 do
        ask(clients[i])
      end
      ask(client()) -- one that has no session yet
      task.sleep(0.02)
    end
    pcall(helpers.eventually, function()
      return heard == sent
    end, nil, 30)
    assert.equal(sent, heard)
    assert.equal(0, result.code, result.stderr)
    assert.equal(0, doubled)
    assert.is_true(sent > 1000)
    for _, one in ipairs(clients) do
      one.socket:close()
    end
    echo:close()
  end, 60))

  it("takes Unix sockets, UDP, the API and the REPL along", helpers.task(function()
    local target, stop = server.echo "hello"
    local folder, port = programs.folder(), programs.free_port()
    local path = programs.file(folder, "c.yml", ("services:\n" .. forward("a", "127.0.0.1:0", target)
      .. '  - {name: u, addr: "%s/u.sock", handler: {type: tcp}, listener: {type: unix}, '
      .. 'forwarder: {nodes: [{name: t, addr: "%s"}]}}\n'
      .. '  - {name: d, addr: "127.0.0.1:0", handler: {type: udp}, listener: {type: udp}, '
      .. 'forwarder: {nodes: [{name: t, addr: "127.0.0.1:9"}]}}\n'
      .. 'api: {addr: "127.0.0.1:%d"}\n'):format(folder, target, port))
    local repl = folder .. "/repl.sock"
    local p = proxy.start({ "-C", path, "-repl", repl }, { services = 3 })
    for _ = 1, 2 do -- the second is handed over by a process that was handed over to
      local pid = tonumber(proxy.run({ "eval", "-socket", repl, "require('luv').os_getpid()" }).stdout)
      uv.kill(pid, "sigusr2")
      helpers.eventually(function()
        return not uv.fs_stat(("/proc/%d/fd/0"):format(pid)) or pid == p.process.pid and p.process.over
      end, p:log(), 20)
      local now = proxy.run({ "eval", "-socket", repl, "require('luv').os_getpid()" })
      assert.equal(0, now.code, now.stderr)
      assert.not_equal(pid, tonumber(now.stdout))
      assert.equal("hello", greeting(p:address(1)))
      assert.equal("hello", greeting("unix:" .. folder .. "/u.sock"))
      local url = ("http://127.0.0.1:%d/config"):format(port)
      assert.matches('"services"', programs.output("curl", { "-s", url }), 1, true)
    end
    stop()
  end))

  it("is had by a command, which tells how it went", helpers.task(function()
    local target, stop = server.echo "hello"
    local folder = programs.folder()
    local repl = folder .. "/repl.sock"
    local good = "services:\n" .. forward("a", "127.0.0.1:0", target)
    local path = programs.file(folder, "c.yml", good)
    local p = proxy.start({ "-C", path, "-repl", repl }, { services = 1 })
    programs.file(folder, "c.yml", (good:gsub("type: tcp", "type: nonsense")))
    local result = proxy.run { "upgrade", "-socket", repl }
    assert.equal(1, result.code)
    assert.matches('c%.yml:2: services%[0%]%.handler%.type: unknown handler "nonsense"', result.stderr)
    assert.equal("hello", greeting(p:address(1)))
    programs.file(folder, "c.yml", good)
    result = proxy.run { "upgrade", "-socket", repl }
    assert.equal(0, result.code, result.stderr)
    local new, old = result.stdout:match "^process (%d+) has taken over; process (%d+) ends"
    assert.equal(p.process.pid, tonumber(old))
    successor(p)
    assert.equal(new, proxy.run({ "eval", "-socket", repl, "require('luv').os_getpid()" }).stdout:match "%d+")
    assert.equal("hello", greeting(p:address(1)))
    result = proxy.run { "upgrade", "-socket", repl .. ".gone" }
    assert.equal(1, result.code)
    stop()
  end))

  it("is called off when the new process fails", helpers.task(function()
    local target, stop = server.echo "hello"
    local folder = programs.folder()
    local path = programs.file(folder, "c.yml", "services:\n" .. forward("a", "127.0.0.1:0", target))
    local p = proxy.start({ "-C", path }, { services = 1 })
    programs.file(folder, "c.yml", "services: nonsense\n")
    p:kill "sigusr2"
    p:logged("this process goes on", true)
    assert.equal("hello", greeting(p:address(1)))
    programs.file(folder, "c.yml", "services:\n" .. forward("a", "127.0.0.1:0", target))
    p:kill "sigusr2" -- and may be tried again
    successor(p)
    assert.equal("hello", greeting(p:address(1)))
    stop()
  end))

  it("tells the service manager which process it is now", helpers.task(function()
    local target, stop = server.echo "hello"
    local folder = programs.folder()
    local seen = programs.start("socat", { "-u", "UNIX-RECV:" .. folder .. "/notify", "STDOUT" })
    helpers.eventually(function()
      return uv.fs_stat(folder .. "/notify")
    end)
    local path = programs.file(folder, "c.yml", "services:\n" .. forward("a", "127.0.0.1:0", target))
    local p = proxy.start({ "-C", path }, { services = 1, env = { NOTIFY_SOCKET = folder .. "/notify" } })
    p:kill "sigusr2"
    successor(p)
    helpers.eventually(function()
      return seen.stdout:find "MAINPID=%d+\nREADY=1"
    end, seen.stdout)
    assert.not_equal(tostring(p.process.pid), seen.stdout:match "MAINPID=(%d+)")
    assert.not_matches("STOPPING", seen.stdout)
    stop()
  end))
end)
