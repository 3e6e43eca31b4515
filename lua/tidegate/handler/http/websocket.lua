-- WebSockets whose frames are recorded: passed on as they are, frame by frame (RFC 6455 5.2).

local body = require "tidegate.native.body"
local bit = require "bit"
local failure = require "tidegate.failure"
local record = require "tidegate.process.record"
local task = require "tidegate.native.task"

local M = {}

local LINGER = 30000 -- ms the other direction may go on after one has ended
local LONGEST = 2 ^ 53

-- "abcd" → 0x61626364
local function number(bytes)
  local n = 0
  for i = 1, #bytes do
    n = n * 256 + bytes:byte(i)
  end
  return n
end

-- At most `rate` frames a second; all of them when it is negative.
local function sampler(rate)
  local tokens, last = rate, task.now()
  return function()
    if rate < 0 then
      return true
    end
    local now = task.now()
    tokens = math.min(tokens + (now - last) / 1000 * rate, math.max(rate, 1))
    last = now
    if tokens < 1 then
      return false
    end
    tokens = tokens - 1
    return true
  end
end

-- The head of the next frame.  @return frame with `bytes`, its head on the wire | nil, err
local function receive(from)
  local bytes, err = from:read_exact(2)
  if not bytes then
    return nil, err
  end
  local first, second = bytes:byte(1, 2)
  local frame = {
    fin = bit.band(first, 0x80) ~= 0, rsv1 = bit.band(first, 0x40) ~= 0, rsv2 = bit.band(first, 0x20) ~= 0,
    rsv3 = bit.band(first, 0x10) ~= 0, opcode = bit.band(first, 0x0f), masked = bit.band(second, 0x80) ~= 0,
    length = bit.band(second, 0x7f),
  }
  local wide = frame.length == 126 and 2 or frame.length == 127 and 8 or 0
  local more = wide + (frame.masked and 4 or 0)
  if more > 0 then
    local rest
    rest, err = from:read_exact(more)
    if not rest then
      return nil, err
    end
    bytes = bytes .. rest
    frame.length = wide > 0 and number(rest:sub(1, wide)) or frame.length
    frame.maskKey = frame.masked and number(rest:sub(-4)) or 0
  end
  if frame.length >= LONGEST then
    return nil, failure.new("protocol", "a frame of WebSocket is too long")
  end
  frame.bytes = bytes
  return frame
end

-- @param way { from, to (streams), side = "client" or "server", sample }
-- @return nil, err of its end
local function pump(self, ctx, rec, way)
  while true do
    way.from:set_deadline(self.idle and task.now() + self.idle or nil)
    local frame, err = receive(way.from)
    if not frame then
      return nil, err
    end
    way.from:set_deadline(nil)
    local wanted, began = way.sample(), task.now()
    local ok, copy
    if frame.length == 0 then
      ok, err = way.to:write(frame.bytes)
    else
      local room = wanted and math.min(rec.most, frame.length) or 0
      ok, copy, err = body.copy(way.from, way.to, frame.length, frame.bytes, self.stall, self.stall, nil, room)
      err = type(copy) ~= "string" and copy or err
    end
    if not ok then
      return nil, err
    end
    if wanted then
      frame.from, frame.payload = way.side, type(copy) == "string" and copy or nil
      local size, is_client = #frame.bytes + frame.length, way.side == "client"
      frame.bytes = nil
      record.write(ctx, {
        up = is_client and size or 0, down = is_client and 0 or size, duration = (task.now() - began) / 1000,
      }, {
        proto = "http", clientIP = rec.extra.clientIP, src = rec.extra.src, dst = rec.extra.dst,
        host = rec.extra.host, asked = rec.extra.asked, websocket = frame,
      })
    end
  end
end

-- One direction has ended.
local function finish(self, way, other, err)
  if err.code == "eof" then
    way.to:shutdown()
  else
    way.to:close()
    way.from:close()
  end
  self.idle = math.min(self.idle or LINGER, LINGER)
  other.from:set_deadline(task.now() + self.idle)
end

--- Join a client and a server that have agreed on WebSocket; returns when both directions have ended.
-- @param engine with websocket (frames a second), stall, relay_options
-- @param rec of the request (tidegate.handler.http.record)
-- @return true | nil, err
function M.serve(engine, ctx, client, server, rec)
  local options = engine.relay_options
  local self = { stall = engine.stall, idle = options and options.idle }
  local up = { from = client, to = server, side = "client", sample = sampler(engine.websocket) }
  local down = { from = server, to = client, side = "server", sample = sampler(engine.websocket) }
  local waiter, failed = task.waiter(), nil
  client:set_deadline(nil)
  server:set_deadline(nil)
  task.spawn(function()
    local _, err = pump(self, ctx, rec, down)
    failed = err
    finish(self, down, up, err)
    waiter:wake()
  end)
  local _, err = pump(self, ctx, rec, up)
  finish(self, up, down, err)
  waiter:wait()
  err = err.code == "eof" and failed or err
  return err.code == "eof" or nil, err.code ~= "eof" and err or nil
end

return M
