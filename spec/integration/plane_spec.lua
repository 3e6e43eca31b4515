-- A whole tidegate: chains, forwarding, scripts, reloads, logs.

local cjson = require "cjson"
local helpers = require "spec.helpers"
local luv = require "luv"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local LIMIT_MS = 20000

local folder

local function write(name, text)
  local path = folder .. "/" .. name
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- Send through a port and read what comes back, until `count` bytes or the end.
local function exchange(where, text, count)
  local s = assert(stream.dial(where, nil, task.now() + LIMIT_MS))
  s:set_deadline(task.now() + LIMIT_MS)
  s:write(text)
  local answer, err
  if count then
    answer, err = s:read_exact(count)
  else
    answer, err = s:read()
  end
  s:close()
  return answer, err
end

local function at(p, index)
  return "127.0.0.1:" .. p:port(index)
end

describe("decision plane", function()
  before_each(function()
    folder = programs.folder()
  end)
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    plane.cleanup()
  end))

  it("forwards through chains of one to five mixed hops", helpers.task(function()
    local echo = plane.echo()
    local far = proxy.start {
      "-L", "socks5://u:p@127.0.0.1:0", "-L", "http://127.0.0.1:0", "-L", "relay+tls://127.0.0.1:0",
      "-L", "socks4://127.0.0.1:0", "-L", "http+tls://a:b@127.0.0.1:0",
    }
    local hops = {
      "socks5://u:p@" .. at(far, 1), "http://" .. at(far, 2), "relay+tls://" .. at(far, 3),
      "socks4://" .. at(far, 4), "http+tls://a:b@" .. at(far, 5),
    }
    for count = 1, #hops do
      local args = { "-L", "tcp://127.0.0.1:0/" .. echo }
      for i = 1, count do
        args[#args + 1] = "-F"
        args[#args + 1] = hops[i]
      end
      local p = proxy.start(args)
      local text = ("%d hops "):format(count):rep(1000)
      assert.same(text, exchange(at(p, 1), text, #text))
      p:stop()
    end
  end))

  it("goes through unix sockets, on both sides", helpers.task(function()
    local echo, path = plane.echo(), folder .. "/p.sock"
    local far = proxy.start { "-L", "http+unix://" .. path }
    local p = proxy.start { "-L", "tcp://127.0.0.1:0/" .. echo, "-F", "http+unix://" .. path }
    assert.same("hello", exchange(at(p, 1), "hello", 5))
    p:stop()
    far:stop()
  end))

  it("says which node failed, and tries another", helpers.task(function()
    local echo, nobody = plane.echo(), plane.nobody()
    local far = proxy.start { "-L", "http://127.0.0.1:0" }
    local p = proxy.start {
      "-L", "tcp://127.0.0.1:0/" .. echo .. "?retries=1",
      "-F", ("http://%s,%s?strategy=fifo"):format(nobody, at(far, 1)),
    }
    for _ = 1, 3 do
      assert.same("x", exchange(at(p, 1), "x", 1))
    end
    p:stop()

    p = proxy.start {
      "-L", "tcp://127.0.0.1:0/" .. echo .. "?retries=1", "-D", "-F", "http://" .. nobody, "-F", "socks5://a.test:1",
    }
    exchange(at(p, 1), "x")
    for try = 0, 1 do
      p:logged(("route(retry=%d) node-0@%s > node-0@a.test:1 > %s"):format(try, nobody, echo), true)
    end
    p:stop()

    p = proxy.start { "-L", "tcp://127.0.0.1:0/" .. echo, "-F", "http://" .. nobody }
    exchange(at(p, 1), "x")
    p:logged(("hop-0/node-0 http %s: tcp connect: Connection refused"):format(nobody), true)
  end))

  it("sends and takes PROXY headers", helpers.task(function()
    local head
    local target = plane.accept(function(s)
      head = s:read_until("\n", 200)
      s:close()
    end)
    local second = proxy.start {
      "-L", ("tcp://127.0.0.1:0/%s?proxyProtocol=1&handler.proxyProtocol=1"):format(target),
    }
    exchange(at(second, 1), "PROXY TCP4 192.0.2.7 198.51.100.9 1234 443\r\nhello")
    helpers.eventually(function()
      return head
    end)
    assert.same("PROXY TCP4 192.0.2.7 198.51.100.9 1234 443\r\n", head)
    second:logged('"client":"192.0.2.7:1234"', true)
  end))

  it("loads scripts beside YAML, and anew on a reload, unless they are broken", helpers.task(function()
    local path = write("say.lua", [[
      local tg = require "tidegate"
      tg.handler "say" (function(_, stream) return stream:write "one" end)
    ]])
    local config = write("say.yml", ([[
services:
  - name: say
    addr: 127.0.0.1:0
    handler: { type: say }
scripts: [ %s ]
]]):format(path))
    local p = proxy.start({ "-C", config }, { services = 1 })
    local where = at(p, 1)
    assert.same("one", exchange(where, ""))

    write("say.lua", "local tg = require 'tidegate'\ntg.handler 'say' (nil)")
    p:kill "sighup"
    p:logged("say.lua:2: ", true)
    assert.same("one", exchange(where, ""))

    write("say.lua", [[
      require("tidegate").handler "say" (function(_, stream) return stream:write "two" end)
    ]])
    p:kill "sighup"
    p:logged("configuration reloaded", true)
    assert.same("two", exchange(where, ""))
  end))

  for name, text in pairs {
    raises = "error 'no'",
    loops = "while true do end",
    ["is no Lua"] = "this is not Lua",
  } do
    it("ends with 2 when a script " .. name, helpers.task(function()
      local path = write("bad.lua", "\n" .. text)
      local result = proxy.run { "-C", path }
      assert.same(2, result.code)
      assert.is_truthy((result.stdout .. result.stderr):find("bad.lua:2: ", 1, true))
    end))
  end

  it("says of connections it cuts that it was stopped", helpers.task(function()
    local p = proxy.start { "-L", "tcp://127.0.0.1:0/" .. plane.echo() }
    local s = assert(stream.dial(at(p, 1)))
    s:write "x"
    assert.same("x", s:read())
    p:stop()
    s:close()
    assert.is_truthy(p:log():find(" >%-< [^\n]*stopped"), p:log())
    assert.is_truthy(p:log():find(" >< [^\n]*\"inputBytes\":1,\"outputBytes\":1"), p:log())
  end))

  it("writes one log with all workers, and rotates it", helpers.task(function()
    local echo, path = plane.echo(), folder .. "/x.log"
    local config = write("log.json", cjson.encode {
      log = { output = path, format = "text", level = "info", rotation = { maxSize = 1 } },
      services = {
        {
          name = "f", addr = "127.0.0.1:0", handler = { type = "tcp" },
          forwarder = { nodes = { { name = "t", addr = echo } } },
        },
      },
    })
    local port
    local p = proxy.start({ "-C", config, "--workers", "2" }, { services = 0 })
    helpers.eventually(function()
      port = luv.fs_stat(path) and read(path):match "listening on 127.0.0.1:(%d+)/tcp"
      return port
    end)
    for _ = 1, 2500 do
      assert.same("x", exchange("127.0.0.1:" .. port, "x", 1))
    end
    task.sleep(0.3)
    p:stop()

    local ends, files = 0, 0
    local scan = luv.fs_scandir(folder)
    for file in function() return luv.fs_scandir_next(scan) end do
      if file:find "^x.*%.log$" then
        files = files + 1
        for line in io.lines(folder .. "/" .. file) do
          assert.is_truthy(line:find "^time=%S+ level=%l+ msg=", line)
          ends = ends + (line:find(" >< ", 1, true) and 1 or 0)
        end
      end
    end
    assert.same(2500, ends)
    assert.is_true(files >= 2, tostring(files))
  end))
end)
