-- A serial line whose bytes are recorded: they pass through Lua, which is quick enough for one.

local pumps = require "tidegate.net.pumps"
local record = require "tidegate.process.record"
local serial = require "tidegate.policy.recorder.serial"

local function read(from)
  return from:read()
end

--- Join the two streams and record what passes; returns when it is over.
-- @param bound { recorder, meta, options } (tidegate.policy.recorder)
-- @param silence seconds without a byte in either direction that end it; 0: none do
-- @return true | nil, err
return function(ctx, stream, upstream, bound, silence)
  ctx.log:info(ctx.remote .. " <-> " .. (ctx.target or ""))
  return pumps.join(stream, upstream, read, function(bytes, up)
    record.send(bound, serial.record(bytes, up and "input" or "output", bound.options))
  end, silence > 0 and silence * 1000 or nil)
end
