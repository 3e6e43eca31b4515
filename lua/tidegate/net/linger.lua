-- Ending a connection whose client still sends: closing at once would reset it, and the reset may
-- overtake our last words (RFC 9112 9.6).

local body = require "tidegate.native.body"
local task = require "tidegate.native.task"

local QUIET = 1000 -- ms of silence that end it
local LONGEST = 5000 -- ms
local MOST = 64 * 1024 * 1024 -- bytes

--- Say that no more comes and take in, for a bounded time, what the peer had under way.
return function(stream)
  if stream:layer() == "http2" then -- streams of it are closed without harm to what was said
    return
  end
  stream:set_deadline(task.now() + LONGEST)
  if stream:shutdown() then
    body.copy(stream, nil, MOST, nil, QUIET)
  end
end
