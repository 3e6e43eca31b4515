-- The Redis client against servers of a few lines, over in-memory streams.

local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local redis = require "tidegate.net.redis"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local in_task = helpers.task

-- answers[connection] = list of what is sent after each arrival of bytes; false closes
local function client(answers, options)
  local log = { connections = 0 }
  local function serve(s, mine)
    for _, answer in ipairs(mine) do
      local bytes = s:read()
      log[#log + 1] = bytes
      if not bytes or not answer or not s:write(answer) then
        break
      end
    end
    while mine.hold and s:read() do
      helpers.pass()
    end
    s:close()
  end
  options = options or {}
  options.addr = "redis.test"
  options.timeout = options.timeout or 5
  options.dial = function(place)
    log.host, log.port = place.host, place.port
    log.connections = log.connections + 1
    local near, far = stream.pair()
    task.spawn(serve, far, answers[log.connections] or {})
    return near
  end
  return redis.open(options), log
end

local function ask(reply, options)
  local c = client({ { reply } }, options)
  local value, err = c:call("GET", "k")
  c:close()
  return value, err
end

describe("net.redis", function()
  it("sends commands and reads every kind of reply", in_task(function()
    local c, log = client { { "$5\r\na\r\nbc\r\n", ":-42\r\n", "+OK\r\n", "$-1\r\n", "*-1\r\n", "$0\r\n\r\n",
      "*4\r\n$1\r\na\r\n:1\r\n$-1\r\n*1\r\n+x\r\n" } }
    assert.equal("a\r\nbc", c:call("SET", "k", 12, 1.5))
    assert.equal("*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n12\r\n$3\r\n1.5\r\n", log[1])
    assert.equal(-42, c:call("A"))
    assert.equal("OK", c:call("A"))
    for _ = 1, 2 do
      local value, err = c:call("A")
      assert.is_nil(value)
      assert.is_nil(err)
    end
    assert.equal("", c:call("A"))
    assert.same({ "a", 1, false, { "x" } }, c:call("A"))
    assert.equal(1, log.connections)
    assert.same({ "redis.test", 6379 }, { log.host, log.port })
    c:close()
  end))

  it("returns the server's errors and goes on", in_task(function()
    local c, log = client { { "-ERR unknown\r\n", "-NOAUTH needed\r\n", "+OK\r\n" } }
    local value, err = c:call("X")
    assert.is_nil(value)
    assert.equal("invalid", err.code)
    assert.truthy(tostring(err):find("ERR unknown", 1, true))
    assert.equal("auth", select(2, c:call("X")).code)
    assert.equal("OK", c:call("X"))
    assert.equal(1, log.connections)
    c:close()
  end))

  it("closes the connection on garbage", in_task(function()
    local cases = {
      "HTTP/1.1 400 Bad\r\n", "\r\n", ":x\r\n", ":\r\n", "$x\r\n", "$-2\r\n", "*-2\r\n", "*1\r\n?\r\n",
      "$1\r\nabc", "$1\r\na\n\n", ("*1\r\n"):rep(20), ":1e5\r\n", ":0x10\r\n", "$99999999999999999999999\r\n",
    }
    for i, bytes in ipairs(cases) do
      local c, log = client { { bytes, hold = true }, { "+fine\r\n" } }
      local value, err = c:call("INCR", "k")
      assert.is_nil(value, i)
      assert.equal("protocol", err.code, i)
      assert.equal("fine", c:call("GET", "k"), i)
      assert.equal(2, log.connections, i)
      c:close()
    end
  end))

  it("bounds replies", in_task(function()
    for _, bytes in ipairs { "$2000\r\n", "*99999999\r\n", "+" .. ("x"):rep(2000) .. "\r\n",
      "*3\r\n" .. ("$500\r\n" .. ("x"):rep(500) .. "\r\n"):rep(3) } do
      local _, err = ask(bytes, { limit = 1000 })
      assert.equal("limit", err.code)
    end
    assert.equal(700, #ask("$700\r\n" .. ("x"):rep(700) .. "\r\n", { limit = 1000 }))
    assert.equal(900000, #ask("$900000\r\n" .. ("x"):rep(900000) .. "\r\n"))
  end))

  it("says who it is and which database it wants", in_task(function()
    local c, log = client({ { "+OK\r\n+OK\r\n", "$1\r\nv\r\n" } }, { username = "u", password = "p", db = 3 })
    assert.equal("v", c:call("GET", "k"))
    assert.equal("*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n", log[1])
    c:close()
    c, log = client({ { "-WRONGPASS no\r\n" } }, { password = "p" })
    local _, err = c:call("GET", "k")
    assert.equal("auth", err.code)
    assert.equal("*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n", log[1])
    assert.is_nil(tostring(err):find("AUTH p", 1, true))
    c:close()
  end))

  it("pipelines", in_task(function()
    local c, log = client { { ":1\r\n$-1\r\n-ERR no\r\n" } }
    local replies = c:pipeline { { "INCR", "a" }, { "GET", "b" }, { "X" } }
    assert.equal(1, replies[1])
    assert.is_false(replies[2])
    assert.is_true(failure.is(replies[3]))
    assert.equal(1, #log)
    assert.same({}, c:pipeline {})
    c:close()
  end))

  it("connects anew when a connection has died, without saying things twice", in_task(function()
    local c, log = client { { "+1\r\n" }, { "+2\r\n", false }, { "+3\r\n", false } }
    assert.equal("1", c:call("INCR", "k"))
    helpers.pass()
    assert.equal("2", c:call("INCR", "k"))
    assert.equal("3", c:call("GET", "k")) -- dies under the question, which may be repeated
    local value, err = c:call("INCR", "k")
    assert.is_nil(value)
    assert.truthy(err.code == "eof" or err.code == "reset")
    assert.equal(3, log.connections)
    c:close()
  end))

  it("gives up at its deadline and leaves no late reply behind", in_task(function()
    local c, log = client({ { hold = true }, { "+fine\r\n" } }, { timeout = 0.05 })
    local _, err = c:call("GET", "k")
    assert.equal("timeout", err.code)
    assert.equal("fine", c:call("GET", "k"))
    assert.equal(2, log.connections)
    c:close()
  end))

  it("opens no more connections than it may, and lets the others wait", in_task(function()
    local c, log = client({ { "+a\r\n", "+b\r\n", "+c\r\n" } }, { connections = 1 })
    local results = {}
    for i = 1, 3 do
      results[i] = helpers.spawn(c.call, c, "GET", "k")
    end
    local seen = {}
    for i = 1, 3 do
      seen[i] = results[i]()
    end
    table.sort(seen)
    assert.same({ "a", "b", "c" }, seen)
    assert.equal(1, log.connections)
    c:close()
    local hanging = client({ { hold = true } }, { connections = 1, timeout = 0.05 })
    local first = helpers.spawn(hanging.call, hanging, "GET", "k")
    local second = helpers.spawn(hanging.call, hanging, "GET", "k")
    assert.equal("timeout", select(2, first()).code)
    local _, err = second()
    assert.truthy(err)
    hanging:close()
  end))

  it("does not keep a connection whose state a command has changed, nor take subscriptions", in_task(function()
    local c, log = client { { "+OK\r\n" }, { "+fine\r\n" } }
    c:call("SELECT", 2)
    assert.equal("fine", c:call("GET", "k"))
    assert.equal(2, log.connections)
    assert.equal("unsupported", select(2, c:call("subscribe", "x")).code)
    assert.equal("invalid", select(2, c:call("SET", {})).code)
    assert.equal("invalid", select(2, c:call()).code)
    c:close()
    assert.equal("closed", select(2, c:call("GET", "k")).code)
  end))
end)
