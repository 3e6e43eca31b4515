-- Limits of a whole tidegate with two workers.

local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local open = {}

-- A server that calls serve(stream) for each connection.  @return address
local function server(serve)
  local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
  local acceptor = assert(listener.accept(fds[1], serve))
  open[#open + 1] = function()
    acceptor:close()
    listener.close_fd(fds[1])
  end
  return listener.address(fds[1])
end

local function echo(s)
  local bytes = s:read(100000)
  while bytes and s:write(bytes) do
    bytes = s:read(100000)
  end
  s:close()
end

local function dial(p, index)
  return assert(stream.dial("127.0.0.1:" .. p:port(index), nil, task.now() + 20000))
end

-- Does the connection live?  It is closed when not.
local function alive(client)
  client:set_deadline(task.now() + 20000)
  if client:write "x" and client:read() == "x" then
    client:set_deadline(nil)
    return true
  end
  client:close()
  return false
end

-- Open `count` connections at once.  @return list of those that live
local function crowd(p, count)
  local living, missing, done = {}, count, task.waiter()
  for _ = 1, count do
    task.spawn(function()
      local client = dial(p, 1)
      if alive(client) then
        living[#living + 1] = client
      end
      missing = missing - 1
      if missing == 0 then
        done:wake(true)
      end
    end)
  end
  assert(done:wait(task.now() + 20000))
  return living
end

local function close_all(list)
  for _, one in ipairs(list) do
    one:close()
  end
end

local function config_of(text, values)
  return programs.file(programs.folder(), "config.yaml", (text:gsub("%%%((%w+)%)", values)))
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

describe("limits", function()
  after_each(function()
    proxy.stop_all()
    for _, close in ipairs(open) do
      close()
    end
    open = {}
  end)

  it("admit exactly N connections, whichever worker has them", helpers.task(function()
    local target = server(echo)
    local p = proxy.start { "-L", "tcp://127.0.0.1:0/" .. target .. "?climiter=17" }
    local living
    for _ = 1, 3 do
      helpers.eventually(function() -- places of the round before may be about to become free
        living = crowd(p, 200)
        assert.is_true(#living <= 17, #living)
        if #living < 17 then
          close_all(living)
        end
        return #living == 17
      end)
      assert.is_false(alive(dial(p, 1)))
      living[1]:close()
      helpers.eventually(function()
        local client = dial(p, 1)
        local good = alive(client)
        living[1] = good and client or living[1]
        return good
      end)
      assert.is_false(alive(dial(p, 1)))
      close_all(living)
    end
  end))

  it("keep the count of connections over a reload", helpers.task(function()
    local target = server(echo)
    local path = config_of([[
services:
- name: s
  addr: 127.0.0.1:0
  climiter: c
  handler: { type: tcp }
  forwarder: { nodes: [ { name: n, addr: "%(target)" } ] }
climiters:
- name: c
  limits: [ "$ 3" ]
]], { target = target })
    local p = proxy.start({ "-C", path }, { services = 1 })
    local living = crowd(p, 10)
    assert.equal(3, #living)
    local text = read(path):gsub("%$ 3", "$ 5")
    programs.file(path:match "^(.*)/", "config.yaml", text)
    p:kill "sighup"
    p:logged "configuration reloaded"
    local more = crowd(p, 10)
    assert.equal(2, #more)
    close_all(living)
    close_all(more)
  end))

  it("bound the bytes of all connections together", helpers.task(function()
    local target = server(function(s)
      repeat until not s:write(("y"):rep(65536))
      s:close()
    end)
    local p = proxy.start { "-L", "tcp://127.0.0.1:0/" .. target .. "?limiter.out=1MB" }
    local got, began = 0, nil
    local clients = {}
    for i = 1, 20 do
      clients[i] = dial(p, 1)
    end
    began = task.now()
    for _, client in ipairs(clients) do
      task.spawn(function()
        local bytes = client:read(100000)
        while bytes do
          got = got + #bytes
          bytes = client:read(100000)
        end
      end)
    end
    helpers.eventually(function()
      return got >= 2 * 1048576
    end, "no two seconds' worth arrived", 10)
    local seconds = (task.now() - began) / 1000
    assert.is_true(got <= 1048576 * (1 + seconds) * 1.03 + 65536, ("%d bytes in %g s"):format(got, seconds))
    for _, client in ipairs(clients) do
      client:interrupt()
      client:close()
    end
  end))

  it("ask the rate limiter in all workers together", helpers.task(function()
    local target = server(echo)
    local p = proxy.start { "-L", "tcp://127.0.0.1:0/" .. target .. "?rlimiter=0.01" }
    local living = crowd(p, 50)
    assert.equal(1, #living)
    close_all(living)
  end))

  it("ask the rate limiter for each stream of a session", helpers.task(function()
    local target = server(echo)
    for _, scheme in ipairs { "http2", "relay+mtls" } do
      local far = proxy.start { "-L", scheme .. "://127.0.0.1:0?rlimiter=2" }
      local near = proxy.start { "-L", "tcp://127.0.0.1:0/" .. target, "-F",
        ("%s://127.0.0.1:%d"):format(scheme, far:port(1)), "--workers", "1" }
      local served = 0
      for _ = 1, 6 do
        local client = dial(near, 1)
        served = served + (alive(client) and 1 or 0)
        client:close()
      end
      assert.is_true(served >= 3 and served < 6, served) -- floor(2) + 1, and what has gathered meanwhile
      near:stop()
      far:stop()
    end
  end))

  it("of traffic change by a reload while a connection lives", helpers.task(function()
    local target = server(echo)
    local text = [[
services:
- name: s
  addr: 127.0.0.1:0
  limiter: l
  handler: { type: tcp }
  forwarder: { nodes: [ { name: n, addr: "%(target)" } ] }
limiters:
- name: l
  limits: [ "$$ 2KB 0 2KB" ]
]]
    local path = config_of(text, { target = target })
    local p = proxy.start({ "-C", path }, { services = 1 })
    local client = dial(p, 1)
    task.spawn(function()
      client:write(("x"):rep(2000000))
    end)
    assert.equal(1000, #client:read_exact(1000))
    programs.file(path:match "^(.*)/", "config.yaml", (read(path):gsub("2KB 0 2KB", "100MB")))
    p:kill "sighup"
    p:logged "configuration reloaded"
    client:set_deadline(task.now() + 10000)
    local rest = client:read_exact(1999000)
    assert.equal(1999000, rest and #rest)
    client:close()
  end))
end)

describe("a quota", function()
  after_each(function()
    proxy.stop_all()
    for _, close in ipairs(open) do
      close()
    end
    open = {}
  end)

  local TEXT = [[
services:
- name: s
  addr: 127.0.0.1:0
  quotas: [ q ]
  handler: { type: tcp }
  forwarder: { nodes: [ { name: n, addr: "%(target)" } ] }
quotas:
- name: q
  limit: %(limit)
  store: { type: file, file: "%(store)" }
]]

  it("cuts what lives, lets nobody in, and survives a restart", helpers.task(function()
    local target = server(echo)
    local store = programs.folder() .. "/quota.json"
    local path = config_of(TEXT, { target = target, limit = "1MB", store = store })
    local p = proxy.start({ "-C", path }, { services = 1 })
    local clients = {}
    for i = 1, 6 do
      clients[i] = dial(p, 1)
      assert.is_true(alive(clients[i]))
    end
    task.spawn(function()
      while clients[1]:write(("x"):rep(65536)) do end
    end)
    task.spawn(function()
      while clients[1]:read(65536) do end
    end)
    p:logged "traffic limit reached"
    for _, client in ipairs(clients) do
      assert.is_false(alive(client)) -- all are cut as soon as they move something
    end

    local parked = {}
    for i = 1, 10 do
      parked[i] = dial(p, 1)
      parked[i]:write "x"
      parked[i]:set_deadline(task.now() + 50)
      assert.equal("timeout", select(2, parked[i]:read()).code) -- connected, and nothing answers
    end
    p:stop()
    for _, client in ipairs(parked) do
      client:close()
    end
    local used = tonumber(read(store):match '"used": (%d+)')
    assert.is_true(used >= 1048576 and used < 6 * 1048576, used)

    p = proxy.start({ "-C", path }, { services = 1 })
    for i = 1, 10 do
      parked[i] = dial(p, 1)
      parked[i]:write "x"
    end
    task.sleep(0.05)
    programs.file(path:match "^(.*)/", "config.yaml", (read(path):gsub("limit: 1MB", "limit: 20MB")))
    p:kill "sighup"
    for _, client in ipairs(parked) do
      client:set_deadline(task.now() + 20000)
      assert.equal("x", client:read()) -- those that waited are served now
      client:close()
    end
    p:kill "sighup"
    helpers.eventually(function()
      return select(2, p:log():gsub("configuration reloaded", "")) == 2
    end)
    p:stop()
    assert.is_true(tonumber(read(store):match '"used": (%d+)') >= used + 20)
  end))

  it("that is deleted lets everybody go on who has waited for it", helpers.task(function()
    local target = server(echo)
    local path = config_of(TEXT, { target = target, limit = "2B", store = programs.folder() .. "/q.json" })
    local p = proxy.start({ "-C", path }, { services = 1 })
    local first = dial(p, 1)
    assert.is_true(alive(first))
    p:logged "traffic limit reached" -- the echo may be here before it is counted
    local parked = dial(p, 1)
    parked:write "x"
    parked:set_deadline(task.now() + 50)
    assert.equal("timeout", select(2, parked:read()).code)
    programs.file(path:match "^(.*)/", "config.yaml", (read(path):gsub("quotas: %[ q %]", ""):gsub("quotas:.*", "")))
    p:kill "sighup"
    parked:set_deadline(task.now() + 20000)
    assert.equal("x", parked:read())
    parked:close()
    first:close()
  end))
end)
