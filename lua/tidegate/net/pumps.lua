-- Two streams joined piece by piece, for who wants to see what passes.

local task = require "tidegate.native.task"

local M = {}

local LINGER = 30000 -- ms of silence in one direction after the other has ended

-- One direction, until its end.  Silence of one is no silence of the whole.  @return err
local function pump(link, from, to, up)
  while true do
    local idle = link.idle
    from:set_deadline(idle and task.now() + idle)
    local bytes, err = link.receive(from)
    if bytes then
      link.moved = task.now()
      link.seen(bytes, up)
      local ok
      ok, err = to:write(bytes)
      if not ok then
        return err
      end
    elseif err.code == "eof" then
      to:shutdown()
      return err
    elseif err.code == "timeout" then
      if link.idle and task.now() - link.moved >= link.idle then
        return err
      end
    elseif err.code ~= "canceled" then -- that is: the idle time has changed
      return err
    end
  end
end

local IN_ORDER = { eof = true, timeout = true }

--- Join two streams; returns when both directions have ended, with both closed.
-- @param receive function(from) → the next piece | nil, err
-- @param seen function(bytes, up): up is from `a` to `b`
-- @param idle ms without a piece in either direction that end it, or nil
-- @return true | nil, err
function M.join(a, b, receive, seen, idle)
  local link = { receive = receive, seen = seen, idle = idle, moved = task.now() }
  local over, left, cut, why = task.waiter(), 2, false, nil
  local function finish(err, other)
    left = left - 1
    why = why or not cut and not IN_ORDER[err.code] and err or nil
    if left == 0 then
      return over:wake(true)
    elseif err.code == "eof" then
      link.idle, link.moved = math.min(link.idle or LINGER, LINGER), task.now()
      other:interrupt()
    else
      cut = true
      a:close()
      b:close()
    end
  end
  task.spawn(function()
    finish(pump(link, b, a, false), a)
  end)
  finish(pump(link, a, b, true), b)
  over:wait()
  a:close()
  b:close()
  return why == nil or nil, why
end

return M
