-- Caches: bounds, ages, and which entries go first.

local cache = require "tidegate.policy.cache"
local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local sinks = require "spec.helpers.sinks"
local task = require "tidegate.native.task"

local silent = setmetatable({}, { __index = function() return function() end end })
local number = 0

-- A cache of its own name: memory is shared by name.
local function memory(settings, name)
  number = number + 1
  return assert(cache.new({ memory = settings }, { name = name, log = silent })), name
end

local function open(settings)
  number = number + 1
  return assert(cache.new({ name = "cache-spec-" .. number, memory = settings }, { log = silent }))
end

local function keys_in(c, names)
  local found = {}
  for name in names:gmatch "." do
    if c:get(name) then
      found[#found + 1] = name
    end
  end
  return table.concat(found)
end

describe("a cache in memory", function()
  it("is one for all who name it", function()
    local one = memory({}, "spec-shared")
    local two = cache.new({ name = "", memory = {} }, { log = silent })
    assert.is_true(one:set("k", "v"))
    assert.equal("v", two:get "k")
    assert.is_true(two:delete "k")
    assert.is_nil(one:get "k")
    assert.is_false(one:delete "k")
  end)

  it("hands out what has expired, marked", helpers.task(function()
    local c = open { ttl = 0.2 }
    c:set("own", "1")
    c:set("given", "2", 30)
    c:set("ever", "3", 0)
    c:set("never", "4", -1)
    local value, fresh = c:get "own"
    assert.equal("1", value)
    assert.is_true(fresh)
    task.sleep(0.3)
    for key, wanted in pairs { own = false, given = true, ever = true, never = true } do
      value, fresh = c:get(key)
      assert.is_truthy(value)
      assert.equal(wanted, fresh, key)
    end
  end))

  it("without a ttl keeps entries for ever", function()
    local c = open {}
    c:set("k", "v")
    assert.same({ "v", true }, { c:get "k" })
  end)

  for _, case in ipairs {
    { "oldest", { maxSize = 3 }, "bcd" },
    { "oldest is the default", { maxSize = 3, eviction = "what" }, "bcd" },
    { "lru", { maxSize = 3, eviction = "lru" }, "acd" },
    { "bytes", { maxBytes = 30 }, "bcd" },
    { "both", { maxSize = 2, maxBytes = 30, eviction = "lru" }, "cd" },
    { "no bound", {}, "abcd" },
  } do
    it("makes room: " .. case[1], function()
      local c = open(case[2])
      for name in ("abc"):gmatch "." do
        c:set(name, ("x"):rep(10))
      end
      c:get "a"
      c:set("d", ("x"):rep(10))
      assert.equal(case[3], keys_in(c, "abcd"))
    end)
  end

  it("drops what has expired before anything else", helpers.task(function()
    local c = open { maxSize = 3 }
    c:set("a", "1", 60)
    c:set("b", "2", 0.01)
    c:set("c", "3", 60)
    task.sleep(0.02)
    c:set("d", "4")
    assert.equal("acd", keys_in(c, "abcd"))
  end))

  it("replaces in place, and refuses what is larger than all of it", function()
    local c = open { maxBytes = 10 }
    assert.is_true(c:set("a", "12345"))
    assert.is_true(c:set("a", "1234567890"))
    assert.equal("1234567890", c:get "a")
    assert.is_false(c:set("b", "12345678901"))
    assert.is_truthy(c:get "a")
    local entries, bytes = c.store:size()
    assert.same({ 1, 10 }, { entries, bytes })
  end)

  it("shrinks when it is configured anew", function()
    local c = open {}
    for i = 1, 1000 do
      c:set("k" .. i, "v")
    end
    c.store:configure(10, 0, false)
    assert.equal(10, c.store:size())
    assert.equal("v", c:get "k1000")
  end)

  it("sweeps when it is told to", helpers.task(function()
    local c = open { ttl = 0.01, cleanupInterval = 0.02 }
    c:set("a", "1")
    helpers.eventually(function()
      return c.store:size() == 0
    end, "not swept")
    c:close()
  end))
end)

describe("a cache in Redis", function()
  after_each(helpers.task(programs.stop_all))

  it("prefixes its keys, knows their age, and is a miss when Redis is gone", helpers.task(function()
    local server, said = sinks.redis(), {}
    local log = {
      warn = function(_, text) said[#said + 1] = "warn " .. text end,
      info = function(_, text) said[#said + 1] = "info " .. text end,
    }
    local config = { name = "r" .. server.port, redis = { addr = server.addr, ttl = 30 } }
    local c = assert(cache.new(config, { log = log, name = config.name }))
    assert.is_true(c:set("a", "1"))
    assert.same({ "1", true }, { c:get "a" })
    assert.equal("1", server.call("GET", "gost:cache:a"))
    assert.is_true(tonumber(server.call("PTTL", "gost:cache:a")) > 20000)
    c:set("b", "2", 0.05)
    c:set("c", "3", 0)
    assert.equal("-1", server.call("PTTL", "gost:cache:c"))
    task.sleep(0.1)
    assert.is_nil(c:get "b")
    assert.is_true(c:delete "a")
    server.stop()
    assert.is_nil(c:get "c")
    assert.is_nil(c:get "c")
    assert.is_false(c:set("d", "4"))
    server = sinks.redis(server.port)
    helpers.eventually(function()
      return c:set("d", "4")
    end, "not connected again")
    assert.equal(2, #said)
    assert.matches("^warn cache r%d+: .*nothing is cached$", said[1])
    assert.matches("^info cache r%d+: works again$", said[2])
    c:close()
    server.stop()
  end))

  it("is not asked where there is one in memory", function()
    local c = cache.new({ name = "both", memory = {}, redis = { addr = "127.0.0.1:1" } }, { log = silent })
    assert.is_true(c:set("k", "v"))
    assert.same({ "v", true }, { c:get "k" })
  end)

  it("with neither kept nor asked is always a miss", function()
    local c = assert(cache.new({ name = "x" }, { log = silent }))
    assert.is_false(c:set("a", "1"))
    assert.is_nil(c:get "a")
  end)
end)
