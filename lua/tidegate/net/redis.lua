-- A Redis client in coroutine style: a few connections, opened when needed, shared by all tasks.
--
--   local client = redis.open { addr = "127.0.0.1:6379", db = 1, password = "secret" }
--   local value, err = client:call("GET", "key")

local addr = require "tidegate.net.addr"
local body = require "tidegate.native.body"
local buffer = require "string.buffer"
local connection = require "tidegate.net.connection"
local failure = require "tidegate.failure"
local resp = require "tidegate.net.redis.resp"
local stream_native = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.redis", __index = methods }

local PORT = 6379
local TIMEOUT = 10 -- seconds of one call
local CONNECTIONS = 16
local IDLE_MS = 60000 -- after which a connection is not trusted any more
local LIMITS = { bytes = 256 * 1024 * 1024, values = 8 * 1024 * 1024 }
local DEAD = { eof = true, reset = true, closed = true }

local function set(names)
  local out = {}
  for name in names:gmatch("%S+") do
    out[name] = true
  end
  return out
end

-- What makes a connection something else than a place for the next command.
local REFUSED = set "SUBSCRIBE PSUBSCRIBE SSUBSCRIBE MONITOR SYNC PSYNC QUIT HELLO"
-- What the next command on the connection would feel.
local STATEFUL = set "SELECT AUTH MULTI EXEC DISCARD WATCH UNWATCH CLIENT RESET READONLY READWRITE ASKING"
-- What may be asked again when it is not known whether it was heard.
local REPEATABLE = set [[ GET MGET STRLEN EXISTS TTL PTTL TYPE PING ECHO HGET HMGET HGETALL HKEYS HVALS HLEN
  HEXISTS SMEMBERS SISMEMBER SCARD LRANGE LINDEX LLEN ZRANGE ZSCORE ZCARD ]]

--- A client; no connection is made yet.
-- @param options { addr = "host:port" or "/path" of a socket, db, username, password,
--   tls = { secure = false: do not verify, serverName, caFile, … }, timeout = seconds of one call (10; 0: none),
--   connections = at most (16), limit = bytes of a reply (256 MiB), chain = name of a chain,
--   registry = whose (workers), dial = function(place, deadline) → stream }
function M.open(options)
  return setmetatable({
    options = options,
    timeout = options.timeout or TIMEOUT,
    most = options.connections or CONNECTIONS,
    limits = { bytes = options.limit or LIMITS.bytes, values = LIMITS.values },
    idle = {}, -- { stream, since }, the latest at the end
    busy = 0,
    waiting = {},
    closed = false,
  }, mt)
end

-- Connections -------------------------------------------------------------------------------------

local function tls_settings(given)
  local settings = {}
  for key, value in pairs(given) do
    settings[key] = value
  end
  settings.secure = given.secure ~= false
  return settings
end

-- A way through a chain, or the caller's own.
local function way_of(options)
  if options.dial or not options.chain or options.chain == "" then
    return options.dial
  end
  return function(place)
    if not options.registry then
      return nil, failure.new("unsupported", "chains are there for workers only", { layer = "redis" })
    end
    return options.registry:connect("tcp", addr.join(place.host, place.port), { chain = options.chain })
  end
end

local function dial(options, deadline)
  local place = options.addr
  if not place or place == "" then
    place = "127.0.0.1"
  elseif place:find("^/") or place:find("^unix:") then
    return stream_native.dial(place:find("^/") and "unix:" .. place or place, nil, deadline)
  end
  local host, port = addr.split(place)
  return connection.open({ host = host ~= "" and host or "127.0.0.1", port = port or PORT }, {
    dial = way_of(options),
    deadline = deadline,
    tls = options.tls and tls_settings(options.tls),
  }, options.tls ~= nil and options.tls ~= false)
end

local function filled(value)
  return value ~= nil and value ~= ""
end

-- What a new connection has to say first.
local function greeting(options)
  local list = {}
  if filled(options.password) then
    list[1] = filled(options.username) and { "AUTH", options.username, options.password }
      or { "AUTH", options.password }
  end
  if (options.db or 0) > 0 then
    list[#list + 1] = { "SELECT", options.db }
  end
  return list
end

-- Send commands, receive as many replies.
-- @return list of replies (nil is null), any server error in its place | nil, err
local function exchange(stream, commands, limits)
  local out = buffer.new()
  for i = 1, #commands do
    local ok, err = resp.encode(out, commands[i])
    if not ok then
      return nil, err
    end
  end
  local sent, why = stream:write(out:tostring())
  if not sent then
    return nil, why
  end
  local replies = {}
  for i = 1, #commands do
    local ok, reply = resp.decode(stream, limits)
    if not ok then
      return nil, reply
    end
    replies[i] = reply
  end
  return replies
end

local function connect(self, deadline)
  local stream, err = dial(self.options, deadline)
  if not stream then
    return nil, err
  end
  stream:set_deadline(deadline)
  local commands = greeting(self.options)
  local replies
  replies, err = exchange(stream, commands, self.limits)
  for i = 1, replies and #commands or 0 do
    err = err or failure.is(replies[i]) and replies[i] or nil
  end
  if err then
    stream:close()
    return nil, err:during("greeting")
  end
  return stream
end

local function take_idle(self)
  while #self.idle > 0 do
    local entry = table.remove(self.idle)
    if entry.since + IDLE_MS > task.now() and body.quiet(entry.stream) then
      return entry.stream
    end
    entry.stream:close()
  end
end

-- Wait until fewer than the most are at work.  @return true | nil, err
local function enter(self, deadline)
  if self.closed then
    return nil, failure.new("closed", "the client is closed", { layer = "redis" })
  elseif self.busy < self.most then
    self.busy = self.busy + 1
    return true
  end
  local waiter = task.waiter()
  self.waiting[#self.waiting + 1] = waiter
  local ok, err = waiter:wait(deadline)
  if ok then
    return true -- the place was handed over
  end
  for i, other in ipairs(self.waiting) do
    if other == waiter then
      table.remove(self.waiting, i)
      break
    end
  end
  return nil, err
end

local function leave(self)
  local waiter = table.remove(self.waiting, 1)
  if waiter then
    waiter:wake(true)
  else
    self.busy = self.busy - 1
  end
end

local function keep(self, stream)
  stream:set_deadline(nil)
  if self.closed then
    stream:close()
  else
    self.idle[#self.idle + 1] = { stream = stream, since = task.now() }
  end
end

-- Commands ----------------------------------------------------------------------------------------

-- @return { keeps, repeatable } | nil, err
local function judge(commands)
  local keeps, repeatable = true, true
  for _, command in ipairs(commands) do
    local word = type(command[1]) == "string" and command[1]:upper() or ""
    if REFUSED[word] then
      return nil, failure.new("unsupported", word .. " needs a connection of its own", { layer = "redis" })
    end
    keeps = keeps and not STATEFUL[word]
    repeatable = repeatable and REPEATABLE[word] or false
  end
  return { keeps = keeps, repeatable = repeatable }
end

local function close_idle(self)
  for _, entry in ipairs(self.idle) do
    entry.stream:close()
  end
  self.idle = {}
end

-- @return replies | nil, err, whether a fresh connection may do better
local function attempt(self, commands, verdict, deadline, fresh)
  local stream, err = not fresh and take_idle(self) or nil, nil
  local used = stream ~= nil
  if not stream then
    stream, err = connect(self, deadline)
    if not stream then
      return nil, err
    end
  end
  stream:set_deadline(deadline)
  local before = stream:counts()
  local replies
  replies, err = exchange(stream, commands, self.limits)
  if replies and verdict.keeps then
    keep(self, stream)
    return replies
  end
  local again = used and not replies and DEAD[err.code] and stream:counts() == before
  stream:close()
  if not replies and err.code == "timeout" then
    close_idle(self) -- nothing may come over the others, too
  end
  return replies, err, again
end

local function run(self, commands)
  local verdict, err = judge(commands)
  if not verdict then
    return nil, err
  end
  local deadline = self.timeout > 0 and task.now() + self.timeout * 1000 or nil
  local ok
  ok, err = enter(self, deadline)
  if not ok then
    return nil, err
  end
  local replies, again
  replies, err, again = attempt(self, commands, verdict, deadline, false)
  if not replies and again and verdict.repeatable then
    replies, err = attempt(self, commands, verdict, deadline, true)
  end
  leave(self)
  if not replies then
    return nil, err:during("redis " .. tostring(commands[1][1]), { addr = self.options.addr })
  end
  return replies
end

--- Do one command.
-- @return string, number or list (nulls in it are false); nil alone for null | nil, err
function methods:call(...)
  local replies, err = run(self, { { ... } })
  if not replies then
    return nil, err
  end
  local reply = replies[1]
  if failure.is(reply) then
    return nil, reply:during("redis " .. tostring((...)), { addr = self.options.addr })
  end
  return reply
end

--- Do several commands in one go; other tasks' commands may come between them, unless the first is
-- MULTI and the last EXEC.
-- @param commands list of lists
-- @return list of replies: null is false, an error of the server is a failure | nil, err
function methods:pipeline(commands)
  if #commands == 0 then
    return {}
  end
  local replies, err = run(self, commands)
  if not replies then
    return nil, err
  end
  for i = 1, #commands do
    if replies[i] == nil then
      replies[i] = false
    end
  end
  return replies
end

--- Close what is idle now, and the rest as it becomes so; later calls fail.
function methods:close()
  self.closed = true
  close_idle(self)
end

return M
