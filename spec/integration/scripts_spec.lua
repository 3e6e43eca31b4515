-- Scripts that misbehave, and scripts that define, replace and wrap policies.

local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local LIMIT_MS = 20000

local folder, target

local function write(name, text)
  local path = folder .. "/" .. name
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

-- A CONNECT through a proxy.  @return the status of its answer, and the stream when that is 200
local function connect(p, index, address, credentials)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(index), nil, task.now() + LIMIT_MS))
  s:set_deadline(task.now() + LIMIT_MS)
  local auth = credentials and "Proxy-Authorization: Basic " .. credentials .. "\r\n" or ""
  s:write(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n"):format(address, address, auth))
  local head = s:read_until("\r\n\r\n", 8192)
  local status = head and tonumber(head:match "^HTTP/1%.%d (%d+)")
  if status ~= 200 then
    s:close()
    return status
  end
  return status, s
end

local function echoes(s)
  s:write "hello"
  local answer = s:read_exact(5)
  s:close()
  return answer == "hello"
end

local function start(name, text, services)
  return proxy.start({ "-C", write(name, text), "--workers", "1" }, { services = services or 1 })
end

describe("scripts", function()
  setup(function()
    folder = programs.folder()
    target = plane.echo()
  end)

  after_each(function()
    proxy.stop_all()
  end)

  it("end the connection when a hook raises, and say where", function()
    local p = start("raises.lua", [[
      local tg = require "tidegate"
      tg.service("http://127.0.0.1:0")
      tg.on("request", function(next, ctx, network, address)
        if address:find "^bad" then
          local nothing
          return nothing.field
        end
        return next(ctx, network, address)
      end)
    ]])
    assert.not_equal(200, connect(p, 1, "bad.test:80"))
    p:logged "hook on request of raises: [^\"]*raises%.lua:6: attempt to index"
    local status, s = connect(p, 1, target)
    assert.equal(200, status)
    assert.is_true(echoes(s))
  end)

  it("go on without a hook that may fail", function()
    local p = start("open.lua", [[
      local tg = require "tidegate"
      tg.service("http://127.0.0.1:0")
      tg.on("request", function() error "broken" end, { on_error = "open" })
    ]])
    local status, s = connect(p, 1, target)
    assert.equal(200, status)
    assert.is_true(echoes(s))
    p:logged "hook on request of open: [^\"]*open%.lua:3: broken"
  end)

  it("are stopped when they never end, while others live on", function()
    local p = start("spins.lua", [[
      local tg = require "tidegate"
      tg.service("http://127.0.0.1:0")
      tg.on("request", function(next, ctx, network, address)
        while address:find "^spin" do rawequal(1, 2) end
        return next(ctx, network, address)
      end)
    ]])
    local status, before = connect(p, 1, target)
    assert.equal(200, status)
    assert.not_equal(200, connect(p, 1, "spin.test:80"))
    p:logged "hook on request of spins has kept the worker busy"
    p:logged "spins%.lua:4: ran for %d+ ms without waiting, and was stopped"
    assert.is_true(echoes(before))
    local after
    status, after = connect(p, 1, target)
    assert.equal(200, status)
    assert.is_true(echoes(after))
  end)

  it("are stopped in components, tasks and behind tail calls as well, and counted", function()
    local p = start("deep.lua", [[
      local tg = require "tidegate"
      local function forever()
        while true do end
      end
      tg.service("http://127.0.0.1:0")
      tg.service { name = "own", addr = "127.0.0.1:0", handler = function(ctx, stream)
        local word = stream:read_until("\n", 100)
        if word == "count\n" then
          return stream:write(("%d\n"):format(tg.counter "script/errors":get()))
        elseif word == "task\n" then
          tg.spawn(function() return forever() end)
          return true
        elseif word == "raise\n" then
          local nothing
          return nothing.field
        end
        return forever()
      end }
    ]], 2)
    local function say(word)
      local s = assert(stream.dial("127.0.0.1:" .. p:port(2), nil, task.now() + LIMIT_MS))
      s:set_deadline(task.now() + LIMIT_MS)
      s:write(word .. "\n")
      local answer = s:read_until("\n", 100)
      s:close()
      return answer
    end
    assert.is_nil(say "raise")
    p:logged 'script: handler [^:]*, handle: [^"]*deep%.lua:15: attempt to index'
    assert.is_nil(say "handler")
    p:logged "script [^ ]*deep%.lua has kept the worker busy for %d+ ms and is stopped"
    p:logged "deep%.lua:3: ran for %d+ ms without waiting, and was stopped"
    assert.is_nil(say "task")
    p:logged "task of deep: [^\"]*deep%.lua:3: ran for"
    assert.equal("3\n", say "count")
  end)

  it("have their time to load on a reload as well, modules included", function()
    local MODULE = [[
      local luv = require "luv"
      local M, began = {}, luv.hrtime()
      function M.rest() while luv.hrtime() - began < %d * 1e6 do end end
      M.rest()
      return M
    ]]
    write("slow_module.lua", MODULE:format(1))
    local p = start("slow.lua", [[
      local tg = require "tidegate"
      tg.service("http://127.0.0.1:0")
      require("slow_module").rest()
    ]])
    write("slow_module.lua", MODULE:format(2600)) -- beyond what the watchdog lets a function have
    p:kill "sighup"
    p:logged "reloaded"
    assert.is_nil(p:log():find("stopped", 1, true))
    assert.equal(200, (connect(p, 1, target)))
  end)

  it("refuse everybody when an auther of theirs raises", function()
    local p = start("auther.lua", [[
      local tg = require "tidegate"
      tg.auther("people", function(user, password)
        if user == "oops" then error "no directory" end
        return user == "ann" and password == "secret" and "ann-id"
      end)
      tg.service { addr = "127.0.0.1:0", handler = { type = "http", auther = "people" } }
    ]])
    assert.equal(407, (connect(p, 1, target, "b29wczpzZWNyZXQ="))) -- oops:secret
    p:logged 'auther \\?"people\\?": [^"]*auther%.lua:3: no directory'
    local status, s = connect(p, 1, target, "YW5uOnNlY3JldA==") -- ann:secret
    assert.equal(200, status)
    assert.is_true(echoes(s))
  end)

  it("replace and wrap what a file describes", function()
    local script = write("people.lua", [[
      local tg = require "tidegate"
      tg.auther("first", function(user) return user == "script" end)
      tg.wrap("auther", "second", function(next, ctx, user, password)
        return next(ctx, user:lower(), password)
      end)
    ]])
    local p = start("people.yml", ([[
      scripts: [ %s ]
      authers:
      - name: first
        auths: [ { username: file, password: x } ]
      - name: second
        auths: [ { username: ann, password: x } ]
      services:
      - name: one
        addr: 127.0.0.1:0
        handler: { type: http, auther: first }
      - name: two
        addr: 127.0.0.1:0
        handler: { type: http, auther: second }
    ]]):format(script), 2)
    local function status_of(index, credentials)
      local status, s = connect(p, index, target, credentials)
      if s then
        s:close()
      end
      return status
    end
    assert.equal(407, status_of(1, "ZmlsZTp4")) -- file:x
    assert.equal(200, status_of(1, "c2NyaXB0Ong=")) -- script:x
    assert.equal(200, status_of(2, "QU5OOng=")) -- ANN:x
    assert.equal(407, status_of(2, "Qk9COng=")) -- BOB:x
  end)

  it("have timers, and dictionaries that all workers share", function()
    local p = proxy.start({ "-C", write("timers.lua", [[
      local tg = require "tidegate"
      tg.service("http://127.0.0.1:0")
      tg.every(0.01, function()
        local n = tg.shared.ticks:incr("n")
        if n == 20 then tg.log:info "twenty ticks" end
        if n == 5 then error "a bad tick" end
      end)
      tg.after(0.01, function() tg.log:info "once" end)
      local canceled = tg.every(0.01, function() tg.log:info "never" end)
      canceled:cancel()
    ]]), "--workers", "2" }, { services = 1 })
    p:logged "twenty ticks"
    p:logged "timer of timers: [^\"]*timers%.lua:6: a bad tick"
    helpers.eventually(function()
      return select(2, p:log():gsub('"once"', "")) >= 2
    end, "not in each worker")
    assert.equal(2, select(2, p:log():gsub('"once"', "")), "in each worker")
    assert.not_matches('"never"', p:log(), 1, true)
  end)

  it("answer who asked before a reload", function()
    local p = start("slow.lua", [[
      local tg = require "tidegate"
      tg.auther("slow", function(user)
        tg.sleep(1)
        return user == "ann"
      end)
      tg.service { name = "s", addr = "127.0.0.1:0", handler = "http", auther = "slow" }
    ]])
    local status
    local over = task.waiter()
    task.spawn(function()
      status = connect(p, 1, target, "YW5uOng=")
      over:wake(true)
    end)
    task.sleep(0.3)
    p:kill "sighup"
    p:logged "configuration reloaded"
    over:wait(task.now() + LIMIT_MS)
    assert.equal(200, status)
    assert.not_matches("unloaded", p:log(), 1, true)
  end)

  it("that would wait while they load, or define twice, end with one error each time", function()
    local path = write("early.lua", [[
      local tg = require "tidegate"
      for i = 1, 8 do
        assert(not pcall(tg.resolve, "n" .. i .. ".slow.invalid"))
      end
      assert(not pcall(tg.sleep, 1))
      assert(not tg.connect("tcp", "127.0.0.1:1"))
      tg.bypass("b", { "x" })
      tg.bypass("b", { "y" })
      tg.service("http://127.0.0.1:0")
    ]])
    for _ = 1, 5 do
      local result = proxy.run { "-C", path }
      assert.equal(2, result.code, result.stderr)
      assert.matches('bypasses[1].name: bypass "b" is defined twice', result.stderr, 1, true)
    end
  end)

  it("require what luarocks installed", function()
    local tree = folder .. "/tree"
    programs.output("mkdir", { "-p", tree .. "/share/lua/5.1/wordlist" })
    local file = assert(io.open(tree .. "/share/lua/5.1/wordlist/init.lua", "w"))
    file:write "return { has = function(word) return word == 'forbidden.test:80' end }"
    file:close()
    local script = write("rocks.lua", [[
      local tg, words = require "tidegate", require "wordlist"
      tg.bypass("words", function(_, _, address) return words.has(address) end)
      tg.service { addr = "127.0.0.1:0", handler = "http", bypass = "words" }
    ]])
    local p = proxy.start({ "-C", script, "--rocks-tree", tree }, { services = 1 })
    assert.equal(403, (connect(p, 1, "forbidden.test:80")))
    local result = proxy.run { "-C", script }
    assert.equal(2, result.code)
    assert.matches("module 'wordlist' not found", result.stderr, 1, true)
  end)

  it("are asked once for each connection, by an admission", function()
    local p = start("once.lua", [[
      local tg = require "tidegate"
      local asked = tg.counter "asked"
      tg.admission("once", function() asked:add(1) return true end)
      tg.service { addr = "127.0.0.1:0", handler = "http", admission = "once" }
      tg.on("record", function(next, ctx, result)
        tg.log:info("asked " .. asked:get() .. " times")
        return next(ctx, result)
      end)
    ]])
    local status, s = connect(p, 1, target)
    assert.equal(200, status)
    assert.is_true(echoes(s))
    p:logged "asked 1 times"
  end)

  it("say when there is nothing to wrap", function()
    local result = proxy.run { "-C", write("wrap.lua", [[
      local tg = require "tidegate"
      tg.service("http://127.0.0.1:0")
      tg.wrap("auther", "nobody", function(next, ...) return next(...) end)
    ]]) }
    assert.equal(2, result.code)
    assert.matches('there is no auther "nobody"', result.stderr, 1, true)
  end)
end)
