-- Sessions and what surrounds them: reload, drain, limits, hostile clients.

local h2 = require "tidegate.native.h2"
local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local CONNECT = { ":method", "CONNECT", ":authority", "a:1" }

local function session(port, options)
  options = options or {}
  options.client = true
  return h2.start(assert(stream.dial("127.0.0.1:" .. port, nil, task.now() + 20000)), options)
end

local function open(client, fields)
  local s, err = client:request(fields or CONNECT)
  if not s then
    return nil, err
  end
  s:set_deadline(task.now() + 20000)
  local headers
  headers, err = h2.headers(s)
  if not headers or headers[":status"] ~= "200" then
    s:close()
    return nil, err or headers
  end
  return s
end

local function echoes(s, text)
  return s:write(text) and s:read_exact(#text) == text
end

-- One direction of a slow path: bytes arrive `ms` after they were sent, however many there are.
local function delay(from, to, ms)
  local queue, first, last, over = {}, 1, 0, false
  local news = task.waiter()
  task.spawn(function()
    local part = from:read()
    while part do
      last = last + 1
      queue[last] = { part, task.now() + ms }
      news:wake()
      part = from:read()
    end
    over = true
    news:wake()
  end)
  while true do
    local item = queue[first]
    if item then
      queue[first] = nil
      first = first + 1
      local wait = item[2] - task.now()
      if wait > 0 then
        task.sleep(wait / 1000)
      end
      if not to:write(item[1]) then
        break
      end
    elseif over then
      break
    else
      news:wait()
    end
  end
  to:shutdown()
end

local function yaml(where, bypass)
  return ([[
services:
  - name: s
    addr: 127.0.0.1:%s
    handler: {type: tcp}
    listener: {type: h2c}
    forwarder: {nodes: [{name: t, addr: "%s"}]}
    metadata: {labels: "%s"}
]]):format(where.port, where.target, bypass)
end

describe("HTTP/2 sessions", function()
  local stops = {}

  local function echo(greeting)
    local address, stop = server.echo(greeting)
    stops[#stops + 1] = stop
    return address
  end

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    for _, stop in ipairs(stops) do
      stop()
    end
    stops = {}
  end))

  for _, transport in ipairs { "h2c", "grpc" } do
    it("cuts who does not say the preface in time: " .. transport, helpers.task(function()
      local p = proxy.start { "-L", ("relay+%s://127.0.0.1:0?handshakeTimeout=300ms%s"):format(transport,
        transport == "grpc" and "&grpcInsecure=true" or "") }
      for _, begun in ipairs { "", "PRI * HTTP/2.0\r\n" } do
        local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
        s:set_deadline(task.now() + 10000)
        s:write(begun)
        local _, err = s:read()
        assert.is_true(err.code == "eof" or err.code == "reset", tostring(err))
      end
      p:logged "preface: .*timed out"
      p:stop()
    end))
  end

  it("live through a reload, and new streams meet the new configuration", helpers.task(function()
    local where = { port = programs.free_port(), target = echo "one" }
    local folder = programs.folder()
    local path = programs.file(folder, "c.yml", yaml(where, "a=b"))
    local p = proxy.start({ "-C", path }, { services = 1 })
    local client = session(where.port)
    local old = assert(open(client))
    assert.equal("one", old:read_exact(3))
    where.target = echo "two"
    programs.file(folder, "c.yml", yaml(where, "a=c"))
    p:kill "sighup"
    helpers.eventually(function()
      local s = assert(open(client))
      local text = s:read_exact(3)
      s:close()
      return text == "two"
    end)
    assert.is_true(echoes(old, "still here"))
    client:close()
  end))

  it("end in order when the process drains", helpers.task(function()
    local where = echo()
    local p = proxy.start { "--drain", "5s", "-L", "tcp+h2c://127.0.0.1:0/" .. where }
    local client = session(p:port(1))
    local s = assert(open(client))
    assert.is_true(echoes(s, "before"))
    p:kill "sigterm"
    helpers.eventually(function()
      return not client:is_alive()
    end)
    local none, err = client:request(CONNECT)
    assert.is_nil(none)
    assert.equal("closed", err.code)
    assert.is_true(echoes(s, "after"))
    s:close()
    helpers.eventually(function()
      return p.process.over
    end)
    assert.equal(0, p.process.code)
    client:close()
  end))

  it("take the client's address from proxies in front, and ask admission for it", helpers.task(function()
    local folder = programs.folder()
    local path = programs.file(folder, "c.yml", ([[
services:
  - name: s
    addr: 127.0.0.1:0
    admission: a
    handler: {type: tcp}
    listener: {type: h2c}
    forwarder: {nodes: [{name: t, addr: "%s"}]}
admissions: [{name: a, matchers: [192.0.2.66]}]
]]):format(echo()))
    local p = proxy.start({ "-C", path }, { services = 1 })
    local client = session(p:port(1))
    assert(open(client, { ":method", "CONNECT", ":authority", "a:1", "x-forwarded-for", "192.0.2.1, 10.0.0.1" }))
    p:logged('"client":"192.0.2.1:0"', true)
    local s = open(client, { ":method", "CONNECT", ":authority", "a:1", "x-real-ip", "192.0.2.66" })
    local bytes = s and s:write "x" and s:read()
    assert.is_nil(bytes)
    client:close()
  end))

  it("are not held up by their windows on a long way", helpers.task(function()
    local size = 48 * 1024 * 1024
    local block = ("0123456789abcdef"):rep(4096)
    local where, stop = server.accept(function(s)
      for _ = 1, size / #block do
        if not s:write(block) then
          break
        end
      end
      s:close()
    end)
    stops[#stops + 1] = stop
    local far = proxy.start { "-L", "tcp+h2c://127.0.0.1:0/" .. where }
    local ms
    local slow
    slow, stop = server.accept(function(near)
      local there = assert(stream.dial("127.0.0.1:" .. far:port(1), nil, task.now() + 20000))
      task.spawn(delay, near, there, ms)
      delay(there, near, ms)
      near:close()
      there:close()
    end)
    stops[#stops + 1] = stop

    -- How much of it arrives within so many seconds.
    local function fetch(seconds)
      local p = proxy.start { "-L", "tcp://127.0.0.1:0/192.0.2.1:1", "-F", "forward+h2c://" .. slow }
      local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 20000))
      s:set_deadline(task.now() + seconds * 1000)
      local got = 0
      repeat
        local part = s:read()
        got = got + (part and #part or 0)
      until not part
      s:close()
      p:stop()
      return got
    end

    -- With the first window it would take 20 s, and 80; the slower the machine, the longer must be the way to tell.
    for _, case in ipairs { { 50, 8 }, { 200, 32 } } do
      ms = case[1]
      if fetch(case[2]) == size then
        return
      end
    end
    error "held up"
  end, 120))

  it("let no client have more streams than agreed", helpers.task(function()
    local p = proxy.start { "-L", "tcp+h2c://127.0.0.1:0/" .. echo() .. "?maxStreams=3" }
    local client = session(p:port(1))
    local kept = {}
    for i = 1, 3 do
      kept[i] = assert(open(client))
    end
    assert.equal(0, client:room())
    kept[2]:close()
    assert.equal(1, client:room())
    client:close()
  end))

  it("with unread bytes cost bounded memory, and nobody else", helpers.task(function()
    local where = echo(("x"):rep(65536))
    local p = proxy.start { "-L", "tcp+h2c://127.0.0.1:0/" .. where }
    local before = p:rss()
    local clients = {}
    for i = 1, 4 do
      -- Streams that send what comes back to nobody: the echo's answer is not read.
      clients[i] = session(p:port(1), { window = 16384, max_window = 16384, session_window = 65535 })
      for _ = 1, 50 do
        local s = assert(open(clients[i]))
        s:set_deadline(task.now() + 20)
        s:write(("y"):rep(500000))
      end
    end
    local good = session(p:port(1))
    local s = assert(open(good))
    assert.equal(65536, #s:read_exact(65536))
    assert.is_true(echoes(s, ("z"):rep(100000)))
    local grown = (p:rss() - before) / 1024
    assert.is_true(grown < 120, ("%d MiB"):format(grown))
    for i = 1, 4 do
      clients[i]:close()
    end
    good:close()
  end))

  it("of a client that floods are cut, with one line, and others go on", helpers.task(function()
    local p = proxy.start { "-L", "tcp+h2c://127.0.0.1:0/" .. echo() }
    local good = session(p:port(1))
    local s = assert(open(good))
    local bad = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 20000))
    bad:set_deadline(task.now() + 10000)
    task.spawn(function()
      bad:write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", ("\0\0\8\6\0\0\0\0\00012345678"):rep(50000))
    end)
    local part
    repeat
      part = bad:read()
    until not part
    p:logged("floods us", true)
    local _, count = p:log():gsub("floods us", "")
    assert.equal(1, count)
    assert.is_true(echoes(s, "unharmed"))
    good:close()
    bad:close()
  end))
end)
