-- DNS in a tunnel or for a forwarder: over TCP, with its length in front of each message, and in datagrams.

local exchanges = require "tidegate.handler.sniffing.exchanges"
local failure = require "tidegate.failure"
local pumps = require "tidegate.net.pumps"
local record = require "tidegate.process.record"
local sniff = require "tidegate.native.sniff"

local M = {}

local FIRST_TIMEOUT = 15 -- seconds, for the rest of the first question

-- A question may be forbidden by its name.
local function allowed(ctx, name)
  local bypass = ctx.service and ctx.service.bypass
  if bypass and name ~= "" and bypass:contains(ctx, ctx.network or "udp", name, { host = name }) then
    return nil, failure.new("blocked", "bypass: " .. name, { level = "debug" })
  end
  return true
end

-- What is known of a connection by its first message.  @return { proto, name } | nil, err; nothing: it is no question
local function look(ctx, bytes)
  local asked = exchanges.question(bytes)
  if not asked then
    return nil
  end
  local name = asked.name:gsub("%.$", "")
  local ok, err = allowed(ctx, name)
  if not ok then
    return nil, err
  end
  ctx.sniffed = { protocol = "dns", host = name }
  return { proto = "dns", name = name }
end

-- The next message with its length.
local function receive(from)
  local head, err = from:read_exact(2)
  if not head then
    return nil, err
  end
  local high, low = head:byte(1, 2)
  local length = high * 256 + low
  if length == 0 then
    return head
  end
  local message
  message, err = from:read_exact(length)
  if not message then
    from:unread(head) -- a deadline may have passed, and be renewed
    return nil, err
  end
  return head .. message
end

--- Serve a connection that begins like DNS over TCP.
-- @return true | nil, err
function M.serve(engine, ctx, stream, way)
  stream:set_deadline(ctx:after(FIRST_TIMEOUT))
  local bytes, err = receive(stream)
  stream:set_deadline(nil)
  if bytes then
    stream:unread(bytes)
  elseif err.code ~= "eof" and err.code ~= "timeout" then
    return nil, err:during "DNS question"
  end
  local found
  found, err = look(ctx, bytes and bytes:sub(3) or "")
  if err then
    return nil, err
  end
  local upstream
  upstream, err = way:connect(ctx, found or {})
  if not upstream then
    return nil, err
  end
  if not (found and record.wanted(ctx)) then
    return ctx:relay(stream, upstream, engine.relay_options)
  end
  local seen = exchanges.new(ctx, upstream)
  local ok
  ok, err = pumps.join(stream, upstream, receive, function(message, up)
    seen:see(message:sub(3), up)
  end, engine.relay_options and engine.relay_options.idle)
  seen:finish()
  return ok, err
end

--- Look at the first datagram of a session, which stays there.
-- @return { proto, name } | nil, err: forbidden; nothing: it is no question
function M.look(ctx, session)
  local bytes = session:peek()
  if not bytes or not sniff.is_dns(bytes) then
    return nil
  end
  ctx.network = "udp"
  return look(ctx, bytes)
end

--- Relay options that have the questions and answers of a session recorded.
-- @return options
function M.recorded(ctx, upstream, options)
  local seen, all = exchanges.new(ctx, upstream), {}
  for key, value in pairs(options or {}) do
    all[key] = value
  end
  all.tap = function(bytes, up)
    if bytes then
      seen:see(bytes, up)
    else
      seen:finish()
    end
  end
  return all
end

return M
