-- The examples about records, run as their first lines say.

local cjson = require "cjson"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local sinks = require "spec.helpers.sinks"

describe("examples", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("record-to-redis.lua keeps requests in Redis", helpers.task(function()
    local redis, nginx = sinks.redis(), origin.nginx()
    local p = proxy.start({ "-C", "examples/record-to-redis.lua" },
      { services = 1, env = { REDIS = redis.addr, LISTEN = "127.0.0.1:0" } })
    local base = "http://127.0.0.1:" .. nginx.http
    for _, path in ipairs { "/hello.html?secret=1", "/whoami" } do
      origin.curl { "-x", "http://127.0.0.1:" .. p:port(1), base .. path }
    end
    helpers.eventually(function()
      return redis.call("LLEN", "tidegate:requests") == "2"
    end, "not in Redis\n" .. p:log())
    local seen = {}
    for i = 0, 1 do
      local line = cjson.decode(redis.call("LINDEX", "tidegate:requests", tostring(i)))
      seen[line.request] = line.status
      assert.is_true(line.bytes > 0)
    end
    assert.same({ ["GET " .. base .. "/hello.html"] = 200, ["GET " .. base .. "/whoami"] = 200 }, seen)
    p:stop()
  end))
end)
