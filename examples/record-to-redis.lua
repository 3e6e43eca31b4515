-- A proxy that keeps its last thousand requests in a list of Redis, without what people look for: the part of
-- a URL behind its "?" is taken out first.  Records wait when Redis is away; nobody's connection does.
-- Run it with:  tidegate -C examples/record-to-redis.lua, and look:  redis-cli LRANGE tidegate:requests 0 9
local tg = require "tidegate"
local json = require "cjson"

local KEY, KEPT = "tidegate:requests", 1000

local redis = tg.redis.open { addr = os.getenv "REDIS" or "127.0.0.1:6379" }

tg.recorder("requests", function(data)
  local record = json.decode(data)
  local line = {
    time = record.time,
    client = record.client,
    user = record.clientID,
    host = record.host,
    bytes = record.outputBytes,
    took = record.duration / 1e9,
    err = record.err,
  }
  if record.http then
    line.request = record.http.method .. " " .. record.http.uri:gsub("%?.*", "")
    line.status = record.http.statusCode
  end
  return redis:pipeline { { "LPUSH", KEY, json.encode(line) }, { "LTRIM", KEY, "0", tostring(KEPT - 1) } }
end)

tg.service {
  name = "proxy",
  addr = os.getenv "LISTEN" or ":8080",
  handler = { type = "http" },
  recorders = { { name = "requests", record = "recorder.service.handler" } },
}
