-- What a script gets wrong must raise or answer an error, and never take the process with it.

local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local relay = require "tidegate.native.relay"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local function raises(pattern, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.matches(pattern, tostring(message))
end

describe("waiting below a C call", function()
  local function below_c(fn)
    return pcall(string.gsub, "x", "x", fn)
  end

  it("raises and leaves nothing waiting", helpers.task(function()
    local a, b = stream.pair()
    local w = task.waiter()
    local ways = {
      read = function() a:read() end,
      sleep = function() task.sleep(0.01) end,
      wait = function() w:wait(task.now() + 10) end,
      write = function() a:write(("x"):rep(1000000)) end,
    }
    for name, way in pairs(ways) do
      local ok, message = below_c(way)
      assert.is_false(ok, name)
      assert.matches("may wait", message)
    end
    assert.is_false((w:wake("nobody")))
    assert.equal("nobody", w:wait())
    b:write "late"
    task.sleep(0.03)
    assert.equal("late", a:read())
    a:close()
    b:close()
  end))

  it("raises for dialing and relaying", helpers.task(function()
    local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
    local address = listener.address(fds[1])
    for _, where in ipairs { address, { address, "127.0.0.1:1" } } do
      local ok, message = below_c(function() stream.dial(where) end)
      assert.is_false(ok)
      assert.matches("may", message)
    end
    local a, b = stream.pair()
    local ok = below_c(function() relay.run(a, b) end)
    assert.is_false(ok)
    assert.is_false(a:is_closed())
    a:close()
    b:close()
    listener.close_fd(fds[1])
    collectgarbage()
    task.sleep(0.02)
  end))

  it("raises in a comparator and in a module's body", helpers.task(function()
    local a, b = stream.pair()
    raises("may wait", table.sort, { 1, 2, 3 }, function() return a:read() end)
    package.preload["spec.waits_while_loading"] = function() a:read() end
    raises("may wait", require, "spec.waits_while_loading")
    package.preload["spec.waits_while_loading"] = nil
    b:write "x"
    helpers.pass()
    assert.equal("x", a:read())
    a:close()
    b:close()
  end))
end)

describe("a task's coroutine", function()
  it("survives being resumed by somebody else", helpers.task(function()
    local a, b = stream.pair()
    local co, got
    task.spawn(function()
      co = coroutine.running()
      got = a:read()
    end)
    helpers.pass()
    assert.is_true(coroutine.resume(co, "forged"))
    assert.equal("forged", got)
    b:write "real"
    helpers.pass()
    for _ = 1, 20 do -- coroutines that are used again
      assert.equal("fine", helpers.spawn(function() helpers.pass() return "fine" end)())
    end
    a:close()
    b:close()
  end))
end)

describe("many values", function()
  it("go through spawn and wake, or raise", helpers.task(function()
    local many = {}
    for i = 1, 7000 do many[i] = i end
    local w = task.waiter()
    local count = helpers.spawn(function(...) return select("#", ...) end, unpack(many))
    assert.equal(7000, count())
    local waiting = helpers.spawn(function() return select("#", w:wait()) end)
    helpers.pass()
    w:wake(unpack(many))
    assert.equal(7000, waiting())
    local deep
    deep = function(n, ...)
      if n == 0 then return select("#", w:wait()) end
      local got = deep(n - 1, ...)
      return got
    end
    waiting = helpers.spawn(deep, 1, unpack(many))
    helpers.pass()
    if not pcall(w.wake, w, unpack(many)) then w:wake() end
    assert.is_number(waiting())
  end))
end)

describe("streams", function()
  it("raise for arguments that make no sense", helpers.task(function()
    local a, b = stream.pair()
    local huge, nan = math.huge, 0 / 0
    for _, bad in ipairs { -1, huge, nan, 1e18, "x", {} } do
      raises("bad argument", a.read, a, bad)
      raises("bad argument", a.read_exact, a, bad)
      raises("bad argument", a.peek, a, bad)
      raises("bad argument", a.read_until, a, "\n", bad)
    end
    raises("bad argument", a.read_until, a, "", 10)
    raises("bad argument", a.receive, a, "decoder")
    raises("bad argument", a.receive, a, require("cjson").null)
    raises("bad argument", a.write, a, {})
    raises("bad argument", a.unread, a, {})
    raises("bad argument", a.read, b.read)
    raises("bad argument", a.read, io.stdout)
    raises("joined with itself", relay.start, a, a)
    raises("bad argument", relay.start, a, io.stdout)
    raises("bad argument", relay.start, a, b, {})
    a:close()
    b:close()
  end))

  it("take any deadline", helpers.task(function()
    local a, b = stream.pair()
    b:write "x"
    for _, odd in ipairs { math.huge, -math.huge, 0 / 0, -1, 2 ^ 63, 2 ^ 64, 1e300, 0.5 } do
      a:set_deadline(odd)
      assert.equal("x", a:peek(1))
    end
    for _, far in ipairs { math.huge, 2 ^ 63, 2 ^ 64, 1e300 } do
      a:set_deadline(far)
      local reading = helpers.spawn(a.read_exact, a, 2)
      task.sleep(0.02)
      b:write "y"
      assert.equal("xy", reading())
      b:write "x"
      helpers.pass()
    end
    a:set_deadline(1) -- long ago
    assert.equal("timeout", select(2, a:read_exact(2)).code)
    local w = task.waiter()
    assert.equal("timeout", select(2, w:wait(1)).code)
    local sleeping = helpers.spawn(function() return w:wait(math.huge) end)
    task.sleep(0.02)
    assert.is_true(w:wake(true))
    assert.is_true(sleeping())
    assert.is_true(task.sleep(-5))
    assert.is_true(task.sleep(0 / 0))
    a:close()
    b:close()
  end))

  it("cannot be relayed while a task waits in them", helpers.task(function()
    local a, b = stream.pair()
    local c, d = stream.pair()
    local reading = helpers.spawn(a.read, a)
    helpers.pass()
    raises("a task waits", relay.start, a, c)
    raises("a task waits", relay.start, c, a)
    assert.is_false(c:is_closed())
    b:write "x"
    assert.equal("x", reading())
    for _, s in ipairs { a, b, c, d } do s:close() end
  end))
end)

describe("listener", function()
  it("refuses what is no listening socket", helpers.task(function()
    local function serve() end
    for _, fd in ipairs { -1, 1000000, 2 ^ 31 - 1 } do
      local l, err = listener.accept(fd, serve)
      assert.is_nil(l)
      assert.is_table(err)
    end
    raises("bad argument", listener.accept, "x", serve)
    raises("bad argument", listener.accept, 3)
  end))

  it("refuses a socket that is watched already", helpers.task(function()
    local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
    local first = assert(listener.accept(fds[1], function() end))
    local second, err = listener.accept(fds[1], function() end)
    assert.is_nil(second)
    assert.equal("inuse", err.code)
    first:close()
    first:close()
    first:pause(true)
    assert(listener.accept(fds[1], function() end)):close()
    listener.close_fd(fds[1])
  end))

  it("can be closed by whom it serves, also while it drains", helpers.task(function()
    for _, drain in ipairs { false, true } do
      local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
      local address, served = listener.address(fds[1]), 0
      local l
      l = assert(listener.accept(fds[1], function(s)
        served = served + 1
        l:close(drain)
        collectgarbage()
        s:close()
      end))
      l:pause(true)
      local clients = {}
      for i = 1, 5 do clients[i] = assert(stream.dial(address)) end
      if drain then l:close(true) else l:pause(false) end
      helpers.eventually(function() return served >= (drain and 5 or 1) end)
      task.sleep(0.01)
      assert.equal(drain and 5 or 1, served)
      for _, c in ipairs(clients) do c:close() end
      listener.close_fd(fds[1])
    end
  end))
end)
