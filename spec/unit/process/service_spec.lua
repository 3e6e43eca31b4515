local cjson = require "cjson"
local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local relay = require "tidegate.native.relay"
local stream = require "tidegate.native.stream"
local serving = require "tidegate.process.serving"
local task = require "tidegate.native.task"
local log = require "tidegate.process.log"
local programs = require "spec.helpers.programs"

local function lines_of(path)
  log.flush()
  local lines = {}
  for line in io.lines(path) do
    lines[#lines + 1] = cjson.decode(line)
  end
  return lines
end

local function temporary()
  return programs.folder() .. "/x.log"
end

local function build(handler, fields)
  plane.declare("handler", "specimen", handler)
  local config = { name = "s", addr = ":1", handler = { type = "specimen" } }
  for key, value in pairs(fields or {}) do
    config[key] = value
  end
  config.handler.type = "specimen"
  local path = temporary()
  local built, problems = plane.build { services = { config }, log = { output = path } }
  assert.same({}, problems)
  return built.s, path
end

describe("service", function()
  setup(function()
    relay.on_end(serving.relay_ended)
  end)
  after_each(plane.cleanup)

  it("hands the stream to the handler and closes it afterwards", helpers.task(function()
    local built = build {
      handle = function(_, ctx, client)
        assert(ctx.service.name == "s")
        return client:write "hello"
      end,
    }
    local client = plane.client(built)
    assert.same("hello", client:read())
    assert.same("eof", select(2, client:read()).code)
    client:close()
  end))

  it("logs a connection as gost does", helpers.task(function()
    local echo = plane.echo()
    local built, path = build {
      handle = function(_, ctx, client)
        local upstream, err = ctx:connect("tcp", echo)
        if not upstream then
          return nil, err
        end
        return ctx:relay(client, upstream)
      end,
    }
    local client = plane.client(built)
    client:write "12345"
    assert.same("12345", client:read_exact(5))
    client:close()
    helpers.eventually(function()
      return #lines_of(path) == 4
    end)

    local lines = lines_of(path)
    assert.same("@ <> @", lines[1].msg)
    assert.same("@ <-> " .. echo, lines[2].msg)
    assert.same("@ >-< " .. echo, lines[3].msg)
    assert.same("@ >< @", lines[4].msg)
    for _, line in ipairs(lines) do
      assert.same("info", line.level)
      assert.same("handler", line.kind)
      assert.same("s", line.service)
      assert.same("specimen", line.handler)
      assert.same(lines[1].sid, line.sid)
    end
    assert.same(echo, lines[4].host)
    assert.same(5, lines[4].inputBytes)
    assert.same(5, lines[4].outputBytes)
    assert.is_number(lines[3].duration)
  end))

  it("logs how a connection failed, and goes on", helpers.task(function()
    local nobody = plane.nobody()
    local built, path = build {
      handle = function(_, ctx)
        return ctx:connect("tcp", nobody)
      end,
    }
    plane.client(built):close()
    helpers.eventually(function()
      return #lines_of(path) == 3
    end)
    local lines = lines_of(path)
    assert.same("error", lines[2].level)
    assert.is_truthy(lines[2].msg:find("Connection refused", 1, true))
    assert.is_truthy(lines[3].err:find("Connection refused", 1, true))
  end))

  it("survives a handler that raises, with a traceback in the log", helpers.task(function()
    local built, path = build {
      handle = function()
        error "boom"
      end,
    }
    local client = plane.client(built)
    assert.same("eof", select(2, client:read()).code)
    client:close()
    local text = lines_of(path)[2].msg
    assert.is_truthy(text:find("service_spec.lua:%d+: boom") and text:find("stack traceback", 1, true))
    assert.same(0, serving.live_count())
  end))

  it("closes what the connection opened when it fails", helpers.task(function()
    local upstream
    local built = build {
      handle = function(_, ctx)
        upstream = assert(ctx:connect("tcp", plane.echo()))
        return nil, failure.new("protocol", "no")
      end,
    }
    local client = plane.client(built)
    client:read()
    assert.is_true(upstream:is_closed())
    client:close()
  end))

  it("writes nothing and makes no tag when nobody wants to know", helpers.task(function()
    plane.declare("handler", "specimen", {
      handle = function(_, ctx, client)
        return ctx:relay(client, assert(ctx:connect("tcp", plane.echo())))
      end,
    })
    local heard = 0
    relay.on_end(function()
      heard = heard + 1
    end)
    local built = plane.build { services = { { name = "s", handler = { type = "specimen" } } } }
    local client = plane.client(built.s)
    client:write "x"
    client:read()
    client:close()
    helpers.eventually(function()
      return relay.count() == 0
    end)
    task.sleep(0.02)
    relay.on_end(serving.relay_ended)
    assert.same(0, heard)
  end))

  describe("authentication", function()
    local function result_of(fields, user, password)
      local result
      local built = build({
        handle = function(_, ctx)
          result = { needs = ctx:needs_auth() }
          result.ok, result.err = ctx:authenticate(user, password)
          result.user = ctx.user
          return true
        end,
      }, { handler = fields })
      local client = plane.client(built)
      client:read()
      client:close()
      return result
    end

    it("is off without an auther", helpers.task(function()
      assert.same({ needs = false, ok = true }, result_of({}, "a", "b"))
    end))

    it("checks inline credentials", helpers.task(function()
      local fields = { auth = { username = "a", password = "b" } }
      assert.same({ needs = true, ok = true, user = "a" }, result_of(fields, "a", "b"))
      local result = result_of(fields, "a", "c")
      assert.is_nil(result.ok)
      assert.same("auth", result.err.code)
      assert.is_nil(result.user)
    end))

    it("skips those it is told to skip", helpers.task(function()
      plane.declare("handler", "specimen", {
        handle = function(_, ctx, client)
          local ok = ctx:authenticate("", "")
          return client:write(tostring(ctx:needs_auth()), " ", tostring(ok))
        end,
      })
      local built = plane.build {
        services = {
          {
            name = "s",
            handler = {
              type = "specimen",
              auth = { username = "a", password = "b" },
              metadata = { skipauth = "nonsense, 127.0.0.0/8, 10.0.0.0/99, ::1" },
            },
          },
        },
      }
      local address = plane.accept(function(s)
        built.s:serve(s)
      end)
      local client = assert(stream.dial(address))
      assert.same("false true", client:read())
      client:close()
    end))

    it("refuses when the auther is missing", helpers.task(function()
      assert.same("auth", result_of({ auther = "gone" }, "a", "b").err.code)
    end))
  end)

  it("writes to loggers of its own, with its labels", helpers.task(function()
    plane.declare("handler", "specimen", { handle = function() return true end })
    local one, two = temporary(), temporary()
    local built = plane.build {
      loggers = {
        { name = "one", log = { output = one } },
        { name = "two", log = { output = two, level = "error" } },
      },
      services = {
        {
          name = "s", handler = { type = "specimen" }, logger = "one", loggers = { "two", "gone" },
          metadata = { labels = { site = "here" } },
        },
      },
    }
    plane.client(built.s):close()
    helpers.eventually(function()
      return #lines_of(one) == 2
    end)
    local line = lines_of(one)[1]
    assert.same("one", line.logger)
    assert.same({ site = "here" }, line.labels)
    assert.same(0, #lines_of(two))
  end))

  it("hashes the target where it shall", helpers.task(function()
    plane.declare("handler", "specimen", { metadata = { hash = { type = "string" } }, handle = print })
    local built = plane.build {
      services = {
        { name = "host", handler = { type = "specimen", metadata = { hash = "host" } } },
        { name = "client", handler = { type = "specimen" } },
      },
    }
    for name, sources in pairs { host = { "a:1", "b:2" }, client = { "192.0.2.1", "192.0.2.1" } } do
      local ctx = built[name]:context()
      ctx.client = "192.0.2.1:99"
      for i, target in ipairs { "a:1", "b:2" } do
        ctx.target = target
        assert.same(sources[i], ctx.hash_source)
      end
    end
  end))

  it("reports all services that cannot be built", function()
    local built, problems = plane.build {
      services = {
        { name = "a", handler = { type = "no-such" } },
        { name = "b", handler = { type = "tcp" }, forwarder = { hop = "gone" } },
      },
    }
    assert.same({}, built)
    assert.same(2, #problems)
    assert.is_truthy(problems[1]:find("service a", 1, true) and problems[1]:find("no-such", 1, true))
    assert.is_truthy(problems[2]:find("no hop \"gone\"", 1, true))
  end)

  it("forwards to several targets, and around those that fail", helpers.task(function()
    local echo, nobody = plane.echo(), plane.nobody()
    local built = plane.build {
      services = {
        {
          name = "fwd", handler = { type = "tcp", retries = 0 }, listener = { type = "tcp" },
          forwarder = {
            nodes = { { name = "dead", addr = nobody }, { name = "alive", addr = echo } },
            selector = { strategy = "fifo", maxFails = 1, failTimeout = 30 },
          },
        },
      },
    }
    local first = plane.client(built.fwd)
    assert.is_nil((first:read()))
    first:close()
    for _ = 1, 3 do
      local client = plane.client(built.fwd)
      client:write "x"
      assert.same("x", client:read())
      client:close()
    end
    helpers.eventually(function()
      return relay.count() == 0
    end)
  end))

  it("says when a forwarder has no target", helpers.task(function()
    local path = temporary()
    local built = plane.build {
      services = { { name = "fwd", handler = { type = "forward" }, forwarder = { nodes = {} } } },
      log = { output = path },
    }
    for _ = 1, 3 do
      plane.client(built.fwd):close()
    end
    helpers.eventually(function()
      return #lines_of(path) == 7 -- begin and end of each, and a complaint once
    end)
    local complaints = {}
    for _, line in ipairs(lines_of(path)) do
      if line.level ~= "info" then
        complaints[#complaints + 1] = line
      elseif line.err then
        assert.truthy(line.err:find("its forwarder has no nodes", 1, true))
      end
    end
    assert.equal(1, #complaints)
    assert.equal("warn", complaints[1].level)
    assert.truthy(complaints[1].msg:find("no target available: its forwarder has no nodes", 1, true))
  end))

  it("says that rules keep a connection from all targets", helpers.task(function()
    local path = temporary()
    local built = plane.build {
      services = { { name = "fwd", handler = { type = "tcp" }, forwarder = { nodes = {
        { name = "a", addr = "127.0.0.1:1", filter = { host = "a.example" } },
      } } } },
      log = { output = path },
    }
    plane.client(built.fwd):close()
    helpers.eventually(function()
      return #lines_of(path) == 3
    end)
    assert.truthy(lines_of(path)[3].err:find("rules or bypasses keep this from the only one; what rules say", 1, true))
  end))
end)
