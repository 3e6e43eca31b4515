-- Quotas: windows, counting, blocking, and what is kept.  Spec: policy 18.

local helpers = require "spec.helpers"
local keeper = require "tidegate.policy.quota.keeper"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local quota = require "tidegate.policy.quota"
local relay = require "tidegate.native.relay"
local store = require "tidegate.policy.quota.store"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local window = require "tidegate.policy.quota.window"

local names = 0

local function fresh_name()
  names = names + 1
  return "quota" .. names
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  return text
end

local function moment(offset)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() + offset)
end

describe("moments", function()
  for text, digits in pairs {
    ["1970-01-01T00:00:00Z"] = "0",
    ["1970-01-01T00:00:01.5Z"] = "1500000000",
    ["2025-12-17T19:33:20Z"] = "1766000000000000000",
    ["2025-12-17T20:33:20+01:00"] = "1766000000000000000",
    ["2025-12-17T14:03:20-05:30"] = "1766000000000000000",
    ["2024-02-29T12:00:00.123456789Z"] = "1709208000123456789",
    ["2000-03-01t00:00:00z"] = "951868800000000000",
  } do
    it(text, function()
      assert.equal(digits, window.digits(window.parse(text)))
    end)
  end

  it("must be whole and possible", function()
    for _, text in ipairs {
      "2025-12-17", "2025-12-17T19:33:20", "2025-13-17T19:33:20Z", "2025-12-32T19:33:20Z", "2025-12-17T24:33:20Z",
      "2025-12-17 19:33:20Z", "soon", "2025-12-17T19:33:20+1", "",
    } do
      assert.is_nil(window.parse(text), text)
    end
  end)

  it("span a window that has its beginning and not its end", function()
    local one, two, three = { 1, 0 }, { 2, 0 }, { 2, 1 }
    assert.is_true(window.contains(two, three, two))
    assert.is_false(window.contains(two, three, three))
    assert.is_false(window.contains(two, nil, one))
    assert.is_true(window.contains(nil, nil, one))
    assert.is_true(window.contains(nil, two, one))
  end)
end)

-- A quota in this process: the object of the worker.  Closed by the caller.
local function open(config)
  config.name = config.name or fresh_name()
  config.store = config.store or { type = "file", file = programs.folder() .. "/q.json" }
  return quota.new(config, {}), config
end

describe("a quota", function()
  local near, far

  before_each(function()
    near, far = stream.pair()
  end)

  after_each(function()
    near:close()
    far:close()
  end)

  local function send(bytes)
    near:write(bytes)
    return far:read(#bytes)
  end

  for _, case in ipairs {
    { nil, 5, 7, 12 }, { "in", 5, 7, 5 }, { "out", 5, 7, 7 }, { "total", 5, 7, 12 }, { "sideways", 5, 7, 12 },
  } do
    it("counts the direction " .. tostring(case[1]), helpers.task(function()
      local one = open { direction = case[1] }
      far:add_meter(one.meter)
      send(("i"):rep(case[2]))
      far:write(("o"):rep(case[3]))
      assert.equal(case[4], one.used:get())
      one:close()
    end))
  end

  for _, limit in ipairs { "", "0", "many", "-5KB", false } do
    it(("counts only with the limit %q"):format(tostring(limit)), helpers.task(function()
      local one = open { limit = limit or nil }
      far:add_meter(one.meter)
      assert.equal("hello", send "hello")
      assert.is_false(one:blocked())
      assert.equal(5, one.used:get())
      one:close()
    end))
  end

  it("blocks once the limit is reached, and what crosses it arrives", helpers.task(function()
    local one, config = open { limit = "10B", direction = "in" }
    far:add_meter(one.meter)
    assert.equal("123456789", send "123456789")
    assert.is_false(one:blocked())
    assert.equal("beyond", send "beyond")
    assert.is_true(one:blocked())
    assert.is_true(keeper.status(config.name).blocked)
    local ok, err = far:write "the other direction as well"
    assert.is_nil(ok)
    assert.truthy(tostring(err):find("quota: traffic limit reached", 1, true))
    one:close()
  end))

  for _, case in ipairs {
    { "has begun and not ended", -10, 10, true },
    { "has not begun", 10, 20, false },
    { "has ended", -20, -10, false },
    { "has begun", -10, nil, true },
    { "will end", nil, 10, true },
  } do
    it("that " .. case[1] .. (case[4] and " counts" or " neither counts nor blocks"), helpers.task(function()
      local one = open {
        limit = "1B",
        startsAt = case[2] and moment(case[2]),
        expiresAt = case[3] and moment(case[3]),
      }
      far:add_meter(one.meter)
      assert.equal("hello", send "hello")
      assert.equal(case[4] and 5 or 0, one.used:get())
      assert.equal(case[4], one:blocked())
      one:close()
    end))
  end

  it("begins when its time has come", helpers.task(function()
    local one = open { limit = "1B", startsAt = moment(1), expiresAt = moment(3) }
    assert.equal(0, one.cap:get())
    helpers.eventually(function()
      return one.cap:get() == 1
    end, "it did not begin")
    one.used:add(5)
    assert.is_true(one:blocked())
    helpers.eventually(function()
      return not one:blocked()
    end, "it did not end")
    one:close()
  end))

  it("is one for all who name it, and elder objects stay in charge", helpers.task(function()
    local name = fresh_name()
    local path = programs.folder() .. "/q.json"
    local elder = open { name = name, limit = "10B", store = { type = "file", file = path } }
    local younger = open { name = name, limit = "20B", store = { type = "file", file = path } }
    elder.used:add(15)
    assert.is_true(younger:blocked())
    elder:close()
    assert.equal(15, younger.used:get())
    assert.is_false(younger:blocked())
    younger:close()
  end))

  it("begins anew with another window", helpers.task(function()
    local name = fresh_name()
    local path = programs.folder() .. "/q.json"
    local elder = open { name = name, limit = "10B", store = { type = "file", file = path } }
    elder.used:add(15)
    local younger = open { name = name, limit = "10B", startsAt = moment(-5), store = { type = "file", file = path } }
    elder:close()
    assert.equal(0, younger.used:get())
    younger:close()
  end))
end)

describe("what a quota has used", function()
  it("is kept in a file as gost writes it", helpers.task(function()
    local path = programs.folder() .. "/q.json"
    local at = { type = "file", file = path }
    local two = open { name = "b \"two\"", limit = "2KB", store = at, expiresAt = "2199-01-01T00:00:00Z" }
    local one = open { name = "a", store = at }
    one.used:add(5)
    two.used:add(7)
    one:close()
    two:close()
    local text = read(path):gsub('("updatedAt": )%d+', "%1now")
    assert.equal([[{
  "a": {
    "used": 5,
    "limit": 0,
    "startsAt": 0,
    "expiresAt": 0,
    "updatedAt": now
  },
  "b \"two\"": {
    "used": 7,
    "limit": 2048,
    "startsAt": 0,
    "expiresAt": 7226582400000000000,
    "updatedAt": now
  }
}]], text)
    assert.is_nil(read(path .. ".tmp"))
  end))

  it("is restored when the window is the same", helpers.task(function()
    local name, at = fresh_name(), { type = "file", file = programs.folder() .. "/q.json" }
    local function again(starts, used)
      local one = open { name = name, limit = "1KB", startsAt = starts, store = at }
      assert.equal(used, one.used:get())
      one.used:add(5)
      one:close()
    end
    again(nil, 0)
    again(nil, 5)
    again("2020-01-01T00:00:00.000000001Z", 0)
    again("2020-01-01T00:00:00.000000001Z", 5)
    again(nil, 0)
  end))

  it("is stored while it runs, when it has changed", helpers.task(function()
    local path = programs.folder() .. "/q.json"
    local one = open { name = "running", flush = "1s", store = { type = "file", file = path } }
    one.used:add(42)
    helpers.eventually(function()
      return (read(path) or ""):find('"used": 42', 1, true)
    end)
    one:close()
  end))

  it("begins at nothing when the file is damaged, and is written again", helpers.task(function()
    local folder = programs.folder()
    local path = programs.file(folder, "q.json", "{ damaged")
    local one = open { name = "mended", store = { type = "file", file = path } }
    assert.equal(0, one.used:get())
    one.used:add(3)
    one:close()
    assert.truthy(read(path):find('"used": 3', 1, true))
  end))

  it("can be set", helpers.task(function()
    local path = programs.folder() .. "/q.json"
    local one, config = open { limit = "10B", store = { type = "file", file = path } }
    one.used:add(50)
    assert.is_true(one:blocked())
    assert.is_true(keeper.reset(config.name, 4))
    assert.is_false(one:blocked())
    assert.truthy(read(path):find('"used": 4', 1, true))
    assert.equal(4, keeper.status(config.name).used)
    assert.is_false(keeper.reset "nobody")
    one:close()
  end))

  it("survives in Redis", helpers.task(function()
    local port = programs.free_port()
    local server = programs.start("redis-server", { "--port", tostring(port), "--save", "" }, { port = port })
    local at = { type = "redis", redis = { addr = "127.0.0.1:" .. port, key = "tide" } }
    local name = fresh_name()
    local one = open { name = name, limit = "1KB", store = at }
    one.used:add(77)
    one:close()
    one = open { name = name, limit = "1KB", store = at }
    assert.equal(77, one.used:get())
    one:close()
    local text = programs.output("redis-cli", { "-p", tostring(port), "hget", "tide", name })
    assert.truthy(text:find('{"used":77,"limit":1024,"startsAt":0,"expiresAt":0,"updatedAt":%d+}'), text)
    server:stop()
  end))

  it("waits for a Redis that is not there, without overwriting", helpers.task(function()
    local port = programs.free_port()
    local at = { type = "redis", redis = { addr = "127.0.0.1:" .. port, key = "tide" } }
    local name = fresh_name()
    local one = open { name = name, limit = "1KB", store = at }
    one.used:add(5)
    local server = programs.start("redis-server", { "--port", tostring(port), "--save", "" }, { port = port })
    programs.output("redis-cli", {
      "-p", tostring(port), "hset", "tide", name, '{"used":100,"limit":0,"startsAt":0,"expiresAt":0,"updatedAt":0}',
    })
    helpers.eventually(function()
      return one.used:get() == 105
    end)
    one:close()
    server:stop()
  end))

  it("takes stores it does not know for a file", function()
    local it_now, known = store.open { type = "etcd", file = "/x" }
    assert.equal("/x", it_now.path)
    assert.is_false(known)
    assert.equal("gost-quota.json", store.open(nil).path)
  end)
end)

describe("a service with quotas", function()
  after_each(plane.cleanup)

  it("cuts its relays, and refuses sessions of datagrams", helpers.task(function()
    plane.declare("handler", "joined", {
      handle = function(_, ctx, client)
        local near, far = stream.pair()
        task.spawn(function()
          while far:read() do end
          far:close()
        end)
        return ctx:relay(client, near)
      end,
      handle_packets = function() error "not reached" end,
    })
    local count = relay.count()
    local at = { type = "file", file = programs.folder() .. "/q.json" }
    local built, problems = plane.build {
      quotas = { { name = "cut", limit = "100KB", store = at }, { name = "wide", limit = "1GB", store = at } },
      services = { { name = "s", addr = ":1", quotas = { "wide", "cut", "missing" }, handler = { type = "joined" } } },
    }
    assert.same({}, problems)
    local client = plane.client(built.s)
    helpers.spawn(function()
      while client:write(("x"):rep(10000)) do end
    end)()
    helpers.eventually(function()
      return relay.count() == count
    end)
    assert.is_true(quota.blocks(built.s))
    assert.equal(built.s.quotas[1].used:get(), built.s.quotas[2].used:get())
    local closed = false
    built.s:serve_session { close = function() closed = true end }
    assert.is_true(closed)
    client:close()
  end))
end)
