-- What each kind of policy makes of a real Redis key, of every type it may have, and of the lines of a file
-- and of a page: as spec 1.2 says, from the source to an answer.

local helpers = require "spec.helpers"
local kinds = require "tidegate.policy.kinds"
local loader = require "tidegate.policy.loader"
local nodes = require "tidegate.chain.nodes"
local programs = require "spec.helpers.programs"
local redis = require "tidegate.net.redis"
local server = require "spec.helpers.redis"

local in_task = helpers.task

local LOG = { warn = function() end, info = function() end, debug = function() end, error = function() end }

local function made(word, loaded)
  local kind = kinds.by_word(word)
  local config = { name = "x" }
  local data = kind.prepare and assert(kind.prepare(config, loaded)) or loaded
  local object = assert(kind.new(config, { name = "x", data = data, log = LOG, registry = { log = LOG } }))
  if not kind.prepare then
    object:load(data)
  end
  return object
end

local function client(ip)
  return { client_ip = ip, client = ip .. ":1" }
end

-- What an object answers, as text.
local ask = {
  auther = function(o)
    return table.concat({ tostring(o:check({}, "ann", "a # b")), tostring(o:check({}, "open", "x")),
      tostring(o:check({}, "ann", "a")) }, " ")
  end,
  admission = function(o)
    return tostring(o:admits({}, "tcp", "10.1.2.3:5")) .. " " .. tostring(o:admits({}, "tcp", "10.2.2.3:5"))
  end,
  bypass = function(o)
    return tostring(o:contains({}, "tcp", "a.x.test:80")) .. " " .. tostring(o:contains({}, "tcp", "x.test:80"))
  end,
  hosts = function(o)
    return table.concat(o:lookup({}, "ip", "h.test") or {}, ",")
  end,
  ingress = function(o)
    return tostring(o:get({}, "sub.i.test:80"))
  end,
  router = function(o)
    return (o:get({}, "10.9.1.1") or {}).gateway or "-"
  end,
  limiter = function(o)
    return ("%g %g"):format(o:limit({ client_ip = "10.1.1.1" }, "ip"))
  end,
  climiter = function(o)
    return tostring(o:limit(client "10.1.1.1", "10.1.1.1"))
  end,
  rlimiter = function(o)
    return tostring(o.rules:find "10.1.1.1")
  end,
}

-- kind, type of the key ("" as it is by default), commands that fill it, the answer
local HASH, SET, LIST = "HSET", "SADD", "RPUSH"
local IN_REDIS = {
  { "auther", "", { HASH, "ann", "a # b", "open", "" }, "ann open nil" },
  { "auther", "set", { HASH, "ann", "a # b", "open", "" }, "ann open nil" }, -- the type is ignored
  { "admission", "", { SET, "10.1.0.0/16" }, "false true" },
  { "bypass", "", { SET, "*.x.test" }, "true false" },
  { "bypass", "", { SET, "*.x.test # no comment" }, "false false" }, -- taken as they are
  { "hosts", "", { SET, "192.0.2.1 g.test h.test # comment" }, "192.0.2.1" },
  { "hosts", "list", { LIST, "192.0.2.2 h.test", "192.0.2.1\th.test" }, "192.0.2.2,192.0.2.1" },
  { "ingress", "", { HASH, "*.i.test", "tunnel" }, "tunnel" },
  { "ingress", "set", { SET, "*.i.test tunnel # c", "", "# c" }, "tunnel" },
  { "router", "", { HASH, "10.9.0.0/16", "192.0.2.1" }, "192.0.2.1" },
  { "router", "list", { LIST, "bad", "", "10.9.0.0/16 192.0.2.2 # c", "10.9.0.0/16 192.0.2.3" }, "192.0.2.2" },
  { "router", "set", { SET, "10.9.0.0/16 192.0.2.2" }, "192.0.2.2" },
  { "limiter", "", { SET, "10.1.1.1 1KB 2KB # c" }, "1024 2048" },
  { "limiter", "list", { LIST, "10.1.1.1 9KB", "10.1.1.1 1KB 2KB" }, "1024 2048" },
  { "climiter", "", { SET, "10.1.1.1 3" }, "3" },
  { "climiter", "list", { LIST, "10.1.1.1 3", "10.1.1.1 4" }, "4" },
  { "rlimiter", "", { SET, "10.1.1.1 1.5" }, "1.5" },
  { "rlimiter", "list", { LIST, "10.1.1.1 0.5" }, "0.5" },
}

-- kind, lines of a file or page, the answer
local IN_TEXT = {
  { "auther", "# c\r\n  ann\ta # b \r\nopen", "ann open nil" },
  { "admission", "10.1.0.0/16 # c\n\t\n#10.2.0.0/16", "false true" },
  { "bypass", "\239\187\191*.x.test # c\n#x.test", "true false" },
  { "hosts", "bad\n192.0.2.1\tg.test  h.test # c\n192.0.2.1 h.test", "192.0.2.1" },
  { "ingress", "\n# c\n*.i.test one\n.i.test two # c", "two" },
  { "router", "bad\n10.9.0.0/16 192.0.2.1 # c\n10.9.1.0/24 192.0.2.2", "192.0.2.1" },
  { "limiter", "10.0.0.0/8 5KB\n10.1.1.1 1KB 2KB # c", "1024 2048" },
  { "climiter", "10.1.0.0/16 x\n10.1.0.0/16 7 # c", "7" },
  { "rlimiter", "# c\n$$ 1\n10.1.0.0/16 2.5", "2.5" },
}

describe("items of", function()
  local one, c

  setup(in_task(function()
    one = server.start()
    c = redis.open { addr = one.addr }
  end))

  teardown(in_task(function()
    c:close()
    programs.stop_all()
  end))

  for i, case in ipairs(IN_REDIS) do
    local word, kind_of, command, answer = unpack(case)
    it(("Redis for a %s, type %q: %s"):format(word, kind_of, answer), in_task(function()
      local key = "key-" .. i
      assert(c:call(command[1], key, unpack(command, 2)))
      local spec = kinds.by_word(word).loader
      local items = assert(loader.fetch("redis", { addr = one.addr, key = key, type = kind_of }, spec))
      assert.equal(answer, ask[word](made(word, { redis = items })))
    end))
  end

  for _, case in ipairs(IN_TEXT) do
    local word, text, answer = unpack(case)
    it(("a file for a %s: %s"):format(word, answer), in_task(function()
      local spec = kinds.by_word(word).loader
      local path = programs.file(programs.folder(), "items", text)
      local items = assert(loader.fetch("file", { path = path }, spec))
      assert.equal(answer, ask[word](made(word, { file = items })))
      assert.equal(answer, ask[word](made(word, { http = items })))
    end))
  end

  it("Redis for a hop: JSON in a text", in_task(function()
    c:call("SET", "nodes", '[{"name":"n","addr":"192.0.2.1:1"}]')
    local text = assert(loader.fetch("redis", { addr = one.addr, key = "nodes" }, nodes.loader))
    assert.equal("n", nodes.prepare({ name = "h" }, { redis = text })[1].name)
  end))

  it("Redis without a key, or with one of another type, are no items", in_task(function()
    local spec = kinds.by_word("bypass").loader
    assert.same({}, (loader.fetch("redis", { addr = one.addr, key = "none" }, spec)))
    c:call("SET", "other", "x")
    assert.is_nil((loader.fetch("redis", { addr = one.addr, key = "other" }, spec)))
    c:call("SADD", "gost", "default.test")
    assert.same({ "default.test" }, (loader.fetch("redis", { addr = one.addr }, spec)))
  end))
end)
