-- A serial line whose bytes are recorded: they pass through Lua, which is quick enough for one.

local record = require "tidegate.process.record"
local serial = require "tidegate.policy.recorder.serial"
local task = require "tidegate.native.task"

local LINGER = 30 -- seconds for one direction after the other has ended

-- One direction, until its end.  Silence of one is no silence of the line.  @return err
local function pump(link, from, to, way)
  while true do
    from:set_deadline(link.silence and task.now() + link.silence * 1000)
    local bytes, err = from:read()
    if bytes then
      link.moved = task.now()
      record.send(link.bound, serial.record(bytes, way, link.bound.options))
      local ok
      ok, err = to:write(bytes)
      if not ok then
        return err
      end
    elseif err.code == "eof" then
      to:shutdown()
      return err
    elseif err.code ~= "timeout" or task.now() - link.moved >= link.silence * 1000 then
      return err
    end
  end
end

local GOOD = { eof = true, timeout = true }

--- Join the two streams and record what passes; returns when it is over.
-- @param bound { recorder, meta, options } (tidegate.policy.recorder)
-- @param silence seconds without a byte in either direction that end it; 0: none do
-- @return true | nil, err
return function(ctx, stream, upstream, bound, silence)
  local link = { bound = bound, silence = silence > 0 and silence or nil, moved = task.now() }
  local over, left, ended, why = task.waiter(), 2, false, nil
  local function run(from, to, way)
    local err = pump(link, from, to, way)
    ended = ended or err.code ~= "eof"
    why = why or not GOOD[err.code] and err or nil
    left = left - 1
    over:wake(true)
  end
  ctx.log:info(ctx.remote .. " <-> " .. (ctx.target or ""))
  task.spawn(run, stream, upstream, "input")
  task.spawn(run, upstream, stream, "output")
  over:wait()
  if left > 0 and not ended then
    over:wait(task.now() + LINGER * 1000)
  end
  stream:close()
  upstream:close()
  while left > 0 do
    over:wait()
  end
  return not why or nil, why
end
