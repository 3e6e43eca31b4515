-- Traffic limiters: what a limit is, who it is for, and that it holds.  Spec: policy 17, 17.1.

local helpers = require "spec.helpers"
local keys = require "tidegate.policy.limit.keys"
local limiter = require "tidegate.policy.limiter"
local live = require "tidegate.policy.limit.live"
local plane = require "spec.helpers.plane"
local task = require "tidegate.native.task"
local units = require "tidegate.policy.limit.units"

local BYTES = {
  { "0", 0 }, { "1B", 1 }, { "1KB", 1024 }, { "1KiB", 1024 }, { "10MB", 10485760 }, { "1.5GB", 1610612736 },
  { "2TiB", 2 ^ 41 }, { "1PB", 2 ^ 50 }, { "1EB", 2 ^ 53 }, { "1MB512KB", 1572864 }, { "1MiB512KiB", 1572864 },
  { ".5KB", 512 }, { "1KB1B", 1025 }, { "1B1KiB", 1025 },
  { "100" }, { "" }, { "KB" }, { "10kB" }, { "10K" }, { "10M" }, { "1 MB" }, { "10mb" }, { "1MB512KiB" },
  { "abc" }, { "1.2.3KB" }, { "10MBx" }, { "10KB " },
}

describe("amounts of bytes", function()
  for _, case in ipairs(BYTES) do
    it(("%q"):format(case[1]), function()
      assert.equal(case[2], units.bytes(case[1]))
    end)
  end

  it("that are negative, zero or nonsense are no limit", function()
    for _, text in ipairs { "-1KB", "0", "0B", "100", "fast", "" } do
      assert.equal(0, (units.limit(text)))
    end
    assert.equal(1024, (units.limit "1KB"))
    assert.equal(500, (units.limit(500)))
    assert.is_false(select(2, units.limit "fast"))
  end)
end)

describe("keys", function()
  local rules = keys.new()
  for _, key in ipairs {
    "$", "$$", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.1.2.0/23", "fd00::/8", "fd00::1", "::ffff:192.0.2.0/120",
  } do
    assert(rules:set(key, key))
  end

  for ip, key in pairs {
    ["10.9.9.9"] = "10.0.0.0/8", -- [Q] the longest prefix, not the widest
    ["10.1.9.9"] = "10.1.0.0/16",
    ["10.1.3.9"] = "10.1.2.0/23",
    ["10.1.2.3"] = "10.1.2.3",
    ["::ffff:10.1.2.3"] = "10.1.2.3",
    ["192.0.2.77"] = "::ffff:192.0.2.0/120",
    ["fd00::1"] = "fd00::1",
    ["fd12::1"] = "fd00::/8",
  } do
    it("find " .. ip, function()
      assert.equal(key, rules:find(ip))
    end)
  end

  it("do not find strangers", function()
    assert.is_nil(rules:find "192.0.3.1")
    assert.is_nil(rules:find "fe80::1")
    assert.is_nil(rules:find "@")
  end)

  it("are refused when they make no sense", function()
    for _, key in ipairs { "alice", "10.0.0.0/33", "10.0.0.0/x", "fd00::/129", "10.0.0", "$$$" } do
      assert.is_false(keys.new():set(key, 1))
    end
  end)
end)

local function subject(ip, user)
  return { client_ip = ip, client = ip .. ":1000", user = user }
end

local function make(limits, data)
  return (assert(limiter.new({ name = "unit", limits = limits }, { data = data })))
end

local function limit(limits, scope, who, data)
  return { make(limits, data):limit(who or subject "10.0.0.1", scope) }
end

describe("a limiter's rules", function()
  it("say KEY IN [OUT [BURST]]", function()
    assert.same({ 1024, 0, 0 }, limit({ "$ 1KB" }, "service"))
    assert.same({ 1024, 2048, 0 }, limit({ "$ 1KB 2KB" }, "service"))
    assert.same({ 1024, 2048, 4096 }, limit({ "$  1KB\t2KB   4KB " }, "service"))
    assert.same({ 0, 2048, 0 }, limit({ "$ 0 2KB" }, "service"))
    assert.same({}, limit({ "$" }, "service"))
  end)

  it("are for the service, each connection, or an address", function()
    local limits = { "$ 1KB", "$$ 2KB", "10.0.0.1 3KB", "10.0.0.0/8 4KB" }
    assert.same({ 1024, 0, 0 }, limit(limits, "service"))
    assert.same({ 2048, 0, 0 }, limit(limits, "conn"))
    assert.same({ 3072, 0, 0 }, limit(limits, "ip"))
    assert.same({ 4096, 0, 0 }, limit(limits, "ip", subject "10.0.0.2"))
    assert.same({}, limit(limits, "ip", subject "11.0.0.2"))
  end)

  it("may be for users", function()
    assert.same({ 1024, 0, 0 }, limit({ "alice 1KB" }, "client", subject("10.0.0.1", "alice")))
    assert.same({}, limit({ "alice 1KB" }, "client", subject("10.0.0.1", "bob")))
    assert.same({}, limit({ "alice 1KB" }, "client", subject "10.0.0.1"))
  end)

  it("come from everywhere, and the later line wins", function()
    local loaded = { file = { "$ 2KB", "$$ 2KB" }, redis = { "$$ 3KB", "10.0.0.1 3KB" }, http = { "10.0.0.1 4KB" } }
    assert.same({ 2048, 0, 0 }, limit({ "$ 1KB" }, "service", nil, loaded))
    assert.same({ 3072, 0, 0 }, limit({ "$ 1KB" }, "conn", nil, loaded))
    assert.same({ 4096, 0, 0 }, limit({ "$ 1KB" }, "ip", nil, loaded))
  end)

  it("change with what is loaded", function()
    local it_now = make({ "$ 1KB" }, { file = { "$ 2KB" } })
    it_now:load { file = { "$ 3KB" } }
    assert.equal(3072, (it_now:limit(subject "10.0.0.1", "service")))
  end)

  it("that make no sense are told of in a few lines, however many there are", function()
    local lines, said = {}, {}
    for n = 1, 1000 do
      lines[n] = ("/"):rep(n)
    end
    keys.read({ limits = lines }, {}, function() end, function(text)
      said[#said + 1] = text
    end)
    assert.equal(9, #said)
    assert.equal('the line "//" makes no sense', said[2])
    assert.equal("992 more lines make no sense", said[9])
  end)

  it("lose their comments in Redis", function()
    assert.equal("$ 1KB ", limiter.loader.item "$ 1KB # all")
    assert.is_nil(limiter.loader.item "# nothing")
  end)
end)

-- Services whose handler sends back what it gets.
local function build(config)
  plane.declare("handler", "mirror", {
    handle = function(_, ctx, stream)
      if ctx.service.auther then
        local user = stream:read_until("\n", 100):sub(1, -2)
        local ok, err = ctx:authenticate(user, "x")
        if not ok then
          return nil, err
        end
      end
      local bytes = stream:read(100000)
      while bytes and stream:write(bytes) do
        bytes = stream:read(100000)
      end
      return true
    end,
  })
  for i, service in ipairs(config.services) do
    service.name, service.addr = service.name or "s" .. i, ":1"
    service.handler = service.handler or {}
    service.handler.type = "mirror"
  end
  local built, problems = plane.build(config)
  assert.same({}, problems)
  return built
end

-- Send through a service from an address and read it back.  @return ms
local function echo(built, size, ip, first)
  local near, far = require("tidegate.native.stream").pair()
  task.spawn(function()
    built.proxy_protocol = ip ~= nil
    built:serve(far)
  end)
  if ip then
    near:write(("PROXY TCP4 %s 127.0.0.1 1000 80\r\n"):format(ip))
  end
  local began = task.now()
  if first then
    near:write(first)
  end
  task.spawn(function()
    near:write(("x"):rep(size))
  end)
  assert.equal(size, #near:read_exact(size))
  near:close()
  return task.now() - began
end

describe("a limited service", function()
  after_each(plane.cleanup)

  it("is limited as a whole, with all that share the limiter", helpers.task(function()
    local built = build {
      limiters = { { name = "whole", limits = { "$ 200KB 0 20KB" } } },
      services = { { limiter = "whole" }, { limiter = "whole" } },
    }
    local began, left = task.now(), task.waiter()
    local missing = 4
    for i = 1, 4 do
      task.spawn(function()
        echo(built[i % 2 == 0 and "s1" or "s2"], 25000)
        missing = missing - 1
        if missing == 0 then
          left:wake(true)
        end
      end)
    end
    assert(left:wait(task.now() + 10000))
    assert.is_true(task.now() - began >= 380, task.now() - began) -- 80 KB beyond the burst
  end))

  it("is limited by connection and by address, whichever is less", helpers.task(function()
    local built = build {
      limiters = { { name = "conn", limits = { "$$ 100KB 0 10KB", "10.1.0.0/16 50KB 0 5KB", "10.0.0.0/8 1GB" } } },
      services = { { limiter = "conn" } },
    }
    assert.is_true(echo(built.s1, 40000, "10.2.0.1") >= 280)
    assert.is_true(echo(built.s1, 30000, "10.1.0.1") >= 470)
  end))

  it("has a rate for each connection, which goes with its rule", helpers.task(function()
    local built = build {
      limiters = { { name = "each", limits = { "$$ 10KB 0 5KB" } } },
      services = { { limiter = "each" } },
    }
    local took = {}
    for i = 1, 2 do
      took[i] = helpers.spawn(echo, built.s1, 20000)
    end
    for i = 1, 2 do
      local ms = took[i]()
      assert.is_true(ms >= 1400 and ms < 2900, ms)
    end
    built.s1.limiter:load { file = { "$$ 1GB" } }
    assert.is_true(echo(built.s1, 20000) < 1400)
    built.s1.limiter.config.limits = {}
    built.s1.limiter:load {}
    assert.is_true(echo(built.s1, 20000) < 1400)
  end))

  it("limits only the level it is told to", helpers.task(function()
    local limits = { "$ 10KB 0 10KB", "$$ 100MB" }
    local built = build {
      limiters = { { name = "level", limits = limits } },
      services = { { limiter = "level", metadata = { ["limiter.scope"] = "conn" } } },
    }
    assert.is_true(echo(built.s1, 60000) < 4500)
    built = build {
      limiters = { { name = "other-level", limits = { "$ 100MB", "$$ 10KB 0 10KB", "10.0.0.0/8 10KB" } } },
      services = { { limiter = "other-level", metadata = { ["limiter.scope"] = "service" } } },
    }
    assert.is_true(echo(built.s1, 60000) < 4500)
  end))

  it("remembers a client that comes back", helpers.task(function()
    local built = build {
      limiters = { { name = "back", limits = { "10.3.0.1 50KB 0 20KB" } } },
      services = { { limiter = "back" } },
    }
    echo(built.s1, 20000, "10.3.0.1")
    assert.is_true(echo(built.s1, 20000, "10.3.0.1") >= 350)
  end))

  it("limits users", helpers.task(function()
    local auths = { { username = "alice", password = "x" }, { username = "bob", password = "x" } }
    local built = build {
      authers = { { name = "a", auths = auths } },
      limiters = { { name = "users", limits = { "alice 15KB 0 5KB" } } },
      services = { { handler = { limiter = "users", auther = "a" } } },
    }
    assert.is_true(echo(built.s1, 30000, nil, "alice\n") >= 1500)
    assert.is_true(echo(built.s1, 30000, nil, "bob\n") < 1500)
  end))

  it("tells whom it asks about a user where the user goes", helpers.task(function()
    local subjects = {}
    plane.declare("handler", "going", {
      handle = function(_, ctx, client)
        assert(ctx:authenticate("ann", "x"))
        local upstream = assert(ctx:connect("tcp", client:read_until("\n", 100):sub(1, -2)))
        return ctx:relay(client, upstream)
      end,
    })
    local echo_at = plane.echo()
    local built = plane.build {
      authers = { { name = "a", auths = { { username = "ann", password = "x" } } } },
      services = { { name = "asked", handler = { type = "going", auther = "a" } } },
    }
    built.asked.client_limiter = { name = "asked-of-user", limit = function(_, subject_now, scope)
      subjects[#subjects + 1] = ("%s %s %s %s"):format(scope, subject_now.user, subject_now.network, subject_now.target)
      return "20KB", nil, "5KB"
    end }
    built.asked.client_times, built.asked.late_meters = { refresh = 30, cleanup = 60 }, true
    local near = plane.client(built.asked)
    near:write(echo_at .. "\n")
    helpers.eventually(function()
      return #subjects > 0
    end, "nobody is asked")
    local began = task.now()
    near:write(("x"):rep(15000))
    near:set_deadline(began + 20000)
    assert.equal(15000, #near:read_exact(15000))
    near:close()
    assert.same({ "client ann tcp " .. echo_at }, subjects)
    assert.is_true(task.now() - began >= 300)
  end))

  it("leaves nothing behind of connections that have ended", helpers.task(function()
    local built = build {
      limiters = { { name = "gone", limits = { "$$ 1MB", "10.4.0.0/16 100MB", "10.4.0.20 40KB 0 5KB" } } },
      services = { { limiter = "gone", metadata = { ["limiter.cleanupInterval"] = "1s" } } },
    }
    for i = 1, 20 do
      echo(built.s1, 10, "10.4.0." .. i)
    end
    assert.is_true(live.count "gone" > 0)
    helpers.eventually(function()
      return live.count "gone" == 0
    end)
    assert.is_true(echo(built.s1, 15000, "10.4.0.20") >= 220) -- [Q] its rule is still there
  end))

  it("follows a change while a connection lives", helpers.task(function()
    local built = build {
      limiters = { { name = "live", limits = { "$ 1KB 0 1KB" } } },
      services = { { limiter = "live" } },
    }
    local near = plane.client(built.s1)
    task.spawn(function()
      near:write(("x"):rep(100000))
    end)
    near:read_exact(1000)
    built.s1.limiter:load { file = { "$ 100MB" } }
    near:set_deadline(task.now() + 20000)
    assert.equal(99000, #near:read_exact(99000))
    near:close()
  end))

  it("keeps what was known when a script has no answer", helpers.task(function()
    local asked = 0
    local built = build {
      services = { { limiter = "mute", metadata = { ["limiter.refreshInterval"] = "1s" } } },
    }
    local object = { name = "mute", limit = function()
      asked = asked + 1
      if asked == 1 then
        return "20KB", nil, "20KB"
      end
    end }
    built.s1.limiter, built.s1.limiter_scope = object, "service"
    built.s1.limiter_times = { refresh = 1, cleanup = 60 }
    local began, near = task.now(), plane.client(built.s1)
    task.spawn(function()
      near:write(("x"):rep(70000))
    end)
    near:set_deadline(task.now() + 20000)
    assert.equal(70000, #near:read_exact(70000))
    near:close()
    assert.is_true(asked >= 2, asked)
    assert.is_true(task.now() - began >= 2300, task.now() - began)
  end))

  it("asks a script at the start and again for live connections", helpers.task(function()
    local asked = {}
    local built = build {
      services = { { limiter = "asked", metadata = { ["limiter.refreshInterval"] = "1s" } } },
    }
    -- as tg.limiter() would make it
    local object = { name = "asked", limit = function(_, subject_now, scope)
      asked[#asked + 1] = scope .. " " .. subject_now.service.name
      return #asked > 2 and "100MB" or "1KB", nil, "1KB"
    end }
    built.s1.limiter, built.s1.limiter_scope = object, "service"
    built.s1.limiter_times = { refresh = 1, cleanup = 60 }
    local near = plane.client(built.s1)
    task.spawn(function()
      near:write(("x"):rep(30000))
    end)
    near:set_deadline(task.now() + 20000)
    assert.equal(30000, #near:read_exact(30000))
    near:close()
    assert.equal("service s1", asked[1])
    assert.is_true(#asked >= 3)
  end))
end)
