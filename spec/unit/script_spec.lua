local component = require "tidegate.component"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local relay = require "tidegate.native.relay"
local script = require "tidegate.script"
local serving = require "tidegate.process.serving"
local task = require "tidegate.native.task"

local folder

local function write(name, text)
  local path = folder .. "/" .. name
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

-- Evaluate a script as the control thread does, then build its services as a worker does.
-- `extra` is added to its configuration.
local function run(text, extra)
  local path = write("main.lua", text)
  local config = assert(script.evaluate(path))
  for key, value in pairs(extra or {}) do
    config[key] = value
  end
  local built, problems = plane.build(config)
  assert.same({}, problems)
  return built, config
end

local function ask(built, text)
  local client = plane.client(built)
  client:write(text)
  local answer = client:read()
  client:close()
  return answer
end

describe("scripts", function()
  setup(function()
    folder = programs.folder()
    relay.on_end(serving.relay_ended)
  end)
  after_each(plane.cleanup)

  it("declare services by URL and by table", function()
    local path = write("web.lua", [[
      local tg = require "tidegate"
      tg.chain("out", { "socks5://h1:1080", "http://u:p@h2:8080" })
      tg.service("http://:8080", { chain = "out" })
      tg.service { addr = ":81", handler = "tcp", chain = { "tcp://h3:1" } }
      return { log = { level = "warn" }, services = { { name = "plain", addr = ":82" } } }
    ]])
    local config = assert(script.evaluate(path))
    assert.same({ path }, config.scripts)
    assert.same("web-0", config.services[1].name)
    assert.same("web-1", config.services[2].name)
    assert.same("plain", config.services[3].name)
    assert.same("out", config.services[1].handler.chain)
    assert.same("tcp", config.services[2].handler.type)
    assert.same("web-chain-1", config.services[2].handler.chain)
    assert.same({ level = "warn" }, config.log)
    local hops = config.chains[1].hops
    assert.same({ "hop-0", "hop-1" }, { hops[1].name, hops[2].name })
    assert.same("h2:8080", hops[2].nodes[1].addr)
    assert.same({ username = "u", password = "p" }, hops[2].nodes[1].connector.auth)
  end)

  it("handle connections", helpers.task(function()
    local built = run [[
      local tg = require "tidegate"
      tg.handler "shout" {
        metadata = { tail = { type = "string", default = "!" } },
        handle = function(self, ctx, stream)
          return stream:write(stream:read_until("\n", 100):sub(1, -2):upper() .. self.md.tail)
        end,
      }
      tg.service { name = "s", handler = "shout" }
      tg.service { name = "q", handler = { type = "shout", metadata = { tail = "?" } } }
    ]]
    assert.same("HI!", ask(built.s, "hi\n"))
    assert.same("HI?", ask(built.q, "hi\n"))
  end))

  it("compose chains", helpers.task(function()
    local echo = plane.echo()
    local built = run(([[
      local tg = require "tidegate"
      tg.chain("by-port", function(ctx, network, address)
        if address:match(":1$") then
          return { "tcp://%s" }
        elseif address:match(":2$") then
          return nil, "nobody goes there"
        end
        return "direct"
      end)
      tg.service { name = "s", chain = "by-port", handler = function(ctx, stream)
        local upstream, err = ctx:connect("tcp", stream:read_until("\n", 100):sub(1, -2))
        if not upstream then
          stream:write(err.code, ": ", tostring(err))
          return nil, err
        end
        return ctx:relay(stream, upstream)
      end }
    ]]):format(echo))
    local client = plane.client(built.s)
    client:write "anything.example:1\nhello"
    assert.same("hello", client:read())
    client:close()
    client = plane.client(built.s)
    client:write(echo .. "\nhello")
    assert.same("hello", client:read())
    client:close()
    assert.same("blocked: 192.0.2.1:2: nobody goes there", ask(built.s, "192.0.2.1:2\n"))
    helpers.eventually(function()
      return relay.count() == 0
    end)
  end))

  it("pick nodes and write strategies", helpers.task(function()
    local echo = plane.echo()
    local built = run(([[
      local tg = require "tidegate"
      tg.hop("pick", function(ctx, network, address) return "tcp://%s" end)
      tg.chain("c", { "pick" })
      tg.selector("last", function(items, ctx) return items[#items] end)
      tg.service { name = "chained", handler = "tcp", chain = "c",
        forwarder = { nodes = { { name = "t", addr = "10.255.255.1:9" } } } }
      tg.service { name = "last", handler = "tcp", forwarder = {
        nodes = { { name = "a", addr = "10.255.255.1:9" }, { name = "b", addr = "%s" } },
        selector = { strategy = "last" } } }
    ]]):format(echo, echo))
    assert.same("x", ask(built.chained, "x"))
    assert.same("x", ask(built.last, "x"))
    helpers.eventually(function()
      return relay.count() == 0
    end)
  end))

  it("check passwords", helpers.task(function()
    local built = run [[
      local tg = require "tidegate"
      tg.auther("table", { alice = "secret" })
      tg.auther("asked", function(user, password, ctx) return password == user .. "!" and "id:" .. user end)
      local function try(ctx, stream)
        local user, password = stream:read_until("\n", 99):match("(%S+) (%S+)")
        local ok, err = ctx:authenticate(user, password)
        return stream:write(ok and ctx.user or err.code)
      end
      tg.service { name = "t", handler = try, auther = "table" }
      tg.service { name = "a", handler = try, auther = "asked" }
    ]]
    assert.same("alice", ask(built.t, "alice secret\n"))
    assert.same("auth", ask(built.t, "alice wrong\n"))
    assert.same("id:bob", ask(built.a, "bob bob!\n"))
    assert.same("auth", ask(built.a, "bob bob\n"))
  end))

  it("hook stages", helpers.task(function()
    local echo = plane.echo()
    local built = run(([[
      local tg = require "tidegate"
      _G.seen = {}
      tg.on("admit", function(next, ctx)
        if ctx.client == "no" then return nil, "not you" end
        ctx.vars.greeting = "hello"
        return next(ctx)
      end)
      tg.on("request", function(next, ctx, network, address)
        return next(ctx, network, address == "old.example:1" and "%s" or address)
      end)
      tg.on("resolve", function(next, ctx, host, deadline)
        return host == "here.example" and { "127.0.0.1" } or next(ctx, host, deadline)
      end)
      tg.on("record", function(next, ctx, result)
        table.insert(seen, { ctx.vars.greeting, ctx.target, result.up, result.down })
        return next(ctx, result)
      end)
      tg.service { name = "s", handler = function(ctx, stream)
        local upstream, err = ctx:connect("tcp", stream:read_until("\n", 99):sub(1, -2))
        if not upstream then return nil, err end
        return ctx:relay(stream, upstream)
      end }
      tg.service { name = "peek", handler = function(ctx, stream)
        local out = {}
        for _, one in ipairs(seen) do out[#out + 1] = table.concat(one, " ") end
        return stream:write(table.concat(out, "; "))
      end }
    ]]):format(echo))
    local client = plane.client(built.s)
    client:write "old.example:1\nhi"
    assert.same("hi", client:read())
    client:close()
    client = plane.client(built.s)
    client:write("here.example:" .. echo:match ":(%d+)$" .. "\nyo!")
    assert.same("yo!", client:read())
    client:close()
    helpers.eventually(function()
      return relay.count() == 0
    end)
    task.sleep(0.02)
    local seen = ask(built.peek, "\n")
    assert.is_truthy(seen:find(("hello %s 16 2; hello here.example:"):format(echo), 1, true), seen)
  end))

  it("connect by themselves", helpers.task(function()
    local echo = plane.echo()
    local built = run(([[
      local tg = require "tidegate"
      tg.service { name = "s", handler = function(ctx, stream)
        local other = assert(tg.connect("tcp", "%s", { chain = "direct" }))
        other:write("from a script")
        local text = other:read()
        other:close()
        return stream:write(text)
      end }
    ]]):format(echo))
    assert.same("from a script", ask(built.s, "\n"))
  end))

  it("run tasks that end when the script is unloaded", helpers.task(function()
    local path = write("ticks.lua", [[
      local tg = require "tidegate"
      tg.spawn(function()
        while true do
          local counter = tg.counter "spec ticks"
          counter:add(1)
          tg.sleep(0.005)
        end
      end)
    ]])
    local counter = require("tidegate.native.shared").counter "spec ticks"
    local set = assert(script.load { path })
    helpers.eventually(function()
      return counter:get() > 2
    end)
    set:drop()
    task.sleep(0.03)
    local ticks = counter:get()
    task.sleep(0.03)
    assert.same(ticks, counter:get())
  end))

  it("have an environment of their own", helpers.task(function()
    run [[
      leaked = true
      assert(_G.leaked and string and require "luv")
    ]]
    assert.is_nil(rawget(_G, "leaked"))
  end))

  it("load modules beside them, each time anew", helpers.task(function()
    write("helper.lua", "return { value = 'one' }")
    local text = [[
      local tg = require "tidegate"
      local helper = require "helper"
      tg.service { name = "s", handler = function(ctx, stream) return stream:write(helper.value) end }
    ]]
    assert.same("one", ask(run(text).s, "\n"))
    write("helper.lua", "return { value = 'two' }")
    assert.same("two", ask(run(text).s, "\n"))
  end))

  it("take what they declared with them", helpers.task(function()
    local path = write("gone.lua", 'require("tidegate").handler("fleeting", function() end)')
    assert(script.evaluate(path))
    assert.is_truthy(component.find("handler", "fleeting"))
    write("gone.lua", "")
    assert(script.evaluate(path))
    assert.is_nil(component.find("handler", "fleeting"))
  end))

  for text, message in pairs {
    ["x = = 1"] = ":1: unexpected symbol near '='",
    ["\n\nerror 'no'"] = ":3: no",
    ["local x\nx.y = 1"] = ":2: attempt to index local 'x'",
    ["while true do end"] = ":1: did not finish loading",
    ["\nrequire('tidegate').sleep(1)"] = ":2: a script must not wait while it loads",
    ["require('tidegate').on('nope', print)"] = ':1: there is no stage "nope"',
    ["require('tidegate').chain(1, {})"] = ":1: a chain's name must be a string, not number",
    ["require('tidegate').chain('c', { 'http://[' })"] = ":1: ",
    ["require 'no.such.module'"] = ":1: module 'no.such.module' not found",
    ["return 5"] = "must return a table or nothing",
    ["\27LJ"] = "is bytecode",
  } do
    it(("fail with one message: %s"):format(message), function()
      local path = write("bad.lua", text)
      local config, err = script.evaluate(path)
      assert.is_nil(config)
      assert.same("config", err.code)
      assert.is_truthy(tostring(err):find(path, 1, true), tostring(err))
      assert.is_truthy(tostring(err):find(message, 1, true), tostring(err))
    end)
  end

  it("say when their file is missing", function()
    local _, err = script.evaluate "/nowhere/x.lua"
    assert.is_truthy(tostring(err):find("/nowhere/x.lua", 1, true))
  end)
end)
