-- Records put into Redis: SADD, LPUSH, or ZINCRBY by 1; pipelined.

local failure = require "tidegate.failure"
local redis = require "tidegate.net.redis"

local M = {}
local methods = {}
local mt = { __name = "tidegate.recorder.redis", __index = methods }

local BATCH = 64
local PACE = 0.01 -- seconds

local COMMANDS = {
  set = function(key, data)
    return { "SADD", key, data }
  end,
  list = function(key, data)
    return { "LPUSH", key, data }
  end,
  sset = function(key, data)
    return { "ZINCRBY", key, "1", data }
  end,
}

--- @param config { addr, db, username, password, key, type }
function M.open(config)
  if not config.key or config.key == "" then
    return nil, failure.new("config", "redis: a key is needed")
  end
  return setmetatable({
    config = config,
    key = config.key,
    command = COMMANDS[config.type] or COMMANDS.set,
    batch = BATCH,
    pace = PACE,
  }, mt)
end

local function connect(self)
  if not self.client then
    local config, err = self.config, nil
    self.client, err = redis.open {
      addr = config.addr,
      db = config.db,
      username = config.username,
      password = config.password,
      timeout = (config.timeout or 0) > 0 and config.timeout or nil,
    }
    if not self.client then
      return nil, err
    end
  end
  return self.client
end

function methods:write(list, from)
  local client, err = connect(self)
  if not client then
    return 0, err
  end
  local commands = {}
  for i = from, #list do
    commands[#commands + 1] = self.command(self.key, list[i].data)
  end
  local replies
  replies, err = client:pipeline(commands)
  if not replies then
    return 0, err
  end
  for i = 1, #commands do
    if failure.is(replies[i]) then
      local why = replies[i]
      return i - 1, failure.new(why.code or "io", why.message or tostring(why), { rejected = true })
    end
  end
  return #commands
end

function methods:close()
  if self.client then
    self.client:close()
    self.client = nil
  end
end

return M
