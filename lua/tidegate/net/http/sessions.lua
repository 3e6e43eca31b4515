-- Connections of HTTP/2 to origins, each shared by many requests: what tidegate.net.http.pool is to HTTP/1.1.
--
-- A request goes over a stream in the shape of HTTP/1.1 (native/session/h2_http1.h).  Where all sessions to a
-- place are full another one is opened; one that takes no more ends with its last request.

local failure = require "tidegate.failure"
local h2 = require "tidegate.native.h2"
local sessions = require "tidegate.net.sessions"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.http.sessions", __index = methods }

local ATTEMPTS = 3 -- sessions tried for one request, which may end or fill up meanwhile
local GREETING = 5000 -- ms for the first word of who may not speak HTTP/2
local IDLE = 60 -- seconds a session is kept without a request
local PLACES = 1024
local REMEMBER = 60000 -- ms after which who spoke HTTP/1.1 is asked again
local WINDOW = 1048576
local OPTIONS = { client = true, max_window = WINDOW } -- no PINGs: servers of gRPC count them

local OTHER = failure.new("protocol", "it speaks HTTP/1.1", { layer = "h2" })

--- @param limits nil or { idle = seconds, streams = most requests of one session at once }
function M.new(limits)
  limits = limits or {}
  return setmetatable({
    places = {}, count = 0, limits = { idle = limits.idle or IDLE, streams = limits.streams },
  }, mt)
end

-- Forget places that nothing is known of.
local function sweep(self)
  local now = task.now()
  for key, place in pairs(self.places) do
    if place.pool:count() == 0 and not place.pool.opening and not (place.plain_until and place.plain_until > now) then
      self.places[key], self.count = nil, self.count - 1
    end
  end
end

local function place_of(self, key)
  local place = self.places[key]
  if not place then
    if self.count >= PLACES then
      sweep(self)
    end
    place = { pool = sessions.new(self.limits) }
    self.places[key], self.count = place, self.count + 1
  end
  return place
end

local function speaks_other(place)
  return place.plain_until ~= nil and place.plain_until > task.now()
end

-- Open a session.  @return session | nil, err (OTHER: see `found`)
local function begin(place, options, dial, found)
  if speaks_other(place) then -- somebody has found out meanwhile
    return nil, OTHER
  end
  local stream, protocol = dial()
  if not stream then
    return nil, protocol
  elseif protocol ~= "h2" then
    found.stream, place.plain_until = stream, task.now() + REMEMBER
    return nil, OTHER
  end
  local session = h2.start(stream, OPTIONS)
  if not options.doubtful then
    return session
  end
  local ok, err = session:greeting(task.now() + GREETING)
  local spoke = place.speaks
  place.speaks = ok
  if ok then
    return session
  end
  session:close()
  if spoke then -- it did until now: more likely it is being restarted
    return nil, err:during "greeting"
  end
  place.plain_until = task.now() + REMEMBER
  return nil, OTHER
end

--- Open an exchange.
-- @param key which place it is
-- @param options { scheme = "http" or "https", doubtful = the place may speak HTTP/1.1 though `dial` says h2,
--   websocket = only over a session that takes WebSockets, deadline, except = a session that did not work }
-- @param dial function() → stream, protocol ("h2" or another) | nil, err
-- @return stream, whether its session was used before, the session | nil, err | nil, nil, stream or nil: HTTP/1.1
--   it is, and perhaps a connection for it
function methods:open(key, options, dial)
  local place, err = place_of(self, key), nil
  if options.except then
    place.pool:forget(options.except)
  end
  for _ = 1, ATTEMPTS do
    if speaks_other(place) then
      return nil
    end
    local found = {}
    local session, used = place.pool:take(function()
      return begin(place, options, dial, found)
    end, options.deadline)
    if not session and used == OTHER then
      return nil, nil, found.stream
    elseif not session then
      return nil, used
    elseif options.websocket and not (session:greeting(task.now() + GREETING) and session:takes_websockets()) then
      return nil
    end
    local stream
    stream, err = session:exchange(options.scheme)
    if stream then
      return stream, used, session
    end
  end
  return nil, err
end

--- @return how many sessions are open
function methods:size()
  local n = 0
  for _, place in pairs(self.places) do
    n = n + place.pool:count()
  end
  return n
end

--- Close what is not in use, and the rest with its last request.
function methods:close()
  for _, place in pairs(self.places) do
    place.pool:close()
  end
end

return M
