-- HTTP/1.x in a tunnel or for a forwarder: request by request.

local failure = require "tidegate.failure"
local forward = require "tidegate.handler.http.forward"
local head = require "tidegate.net.http.head"
local linger = require "tidegate.net.linger"
local recording = require "tidegate.handler.http.record"
local reply = require "tidegate.handler.http.reply"
local target = require "tidegate.handler.http.target"

local M = {}

local KEEP = forward.KEEP
local HEAD_TIMEOUT = 60 -- seconds, from the first byte of a head
local IDLE = 300 -- seconds between two requests
local BAD_REQUEST = reply.closing(400)
local UNAUTHORIZED = reply.status_line(401) .. "WWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
local TOO_LARGE = reply.closing(431)

-- What a tunnel passes on as it is but for the fields between two neighbours.
local DROPPED = { host = true, connection = true, ["keep-alive"] = true, upgrade = true, ["gost-record"] = true }

-- The same where names that gost's clients hide are put back.
local REVEALED = { ["gost-target"] = true, ["x-gost-target"] = true }
for name in pairs(DROPPED) do
  REVEALED[name] = true
end

--- Where a request goes, asked of the service's bypass: what the client names, not what is dialed.
-- @return true | nil, err
function M.allowed(ctx, address, path)
  local bypass = ctx.service and ctx.service.bypass
  if bypass and address and bypass:contains(ctx, "tcp", address, { host = address, path = path }) then
    return nil, failure.new("blocked", "bypass: " .. address, { level = "debug" })
  end
  return true
end

-- The next request.  @return request | nil, err (nil: the client has left)
local function receive(engine, ctx, stream, follows)
  local idle = engine.relay_options and engine.relay_options.idle
  stream:set_deadline(ctx:after(idle and idle / 1000 or follows and IDLE))
  local seen, err = stream:peek(1)
  if not seen then
    local left = err.code == "eof" or err.code == "timeout" or err.code == "reset"
    return nil, not (left and follows) and err or nil
  end
  stream:set_deadline(ctx:after(engine.md.headTimeout or HEAD_TIMEOUT))
  local request
  request, err = head.request(stream)
  if request then
    return request
  elseif err.code == "protocol" or err.code == "limit" then
    stream:write(err.code == "limit" and TOO_LARGE or BAD_REQUEST)
    linger(stream)
  end
  return nil, err:during "request"
end

-- Tell the client why there is nothing.
local function refuse(ctx, stream, request, status, err)
  local bytes = status == 401 and UNAUTHORIZED or reply.empty(status)
  if request.minor == 0 then
    bytes = bytes:gsub("^HTTP/1%.1", "HTTP/1.0")
  end
  recording.replied(ctx, bytes)
  stream:write(bytes)
  local whole = head.request_framing(request) == 0
  if not whole then
    linger(stream)
  end
  if request.rec then
    recording.finish(request.rec, ctx, err)
  end
  if whole and request.persistent and request.minor == 1 then
    ctx.log:debug(tostring(err))
    return KEEP
  end
  return nil, err
end

local function exchange(engine, ctx, stream, way, request)
  target.read(request, not engine.reveals)
  request.rec = recording.begin(ctx, request)
  if request.rec then
    request.rec.extra.tls = way.tls
  end
  if request.method == "CONNECT" or request.scheme == "" then
    return refuse(ctx, stream, request, 400,
      failure.new("protocol", ("not a request for a server: %s %s"):format(request.method, request.target)))
  end
  local ok, err = M.allowed(ctx, request.address, request.path)
  if not ok then
    return refuse(ctx, stream, request, 403, err)
  end
  request.dropped = DROPPED
  if ctx.carrier_of_h2 then
    request.send_target, request.send_host = request.path, request.authority
  else -- as it came: perhaps the tunnel leads to another proxy
    request.send_target, request.send_host = request.target, request.host or ""
    if engine.reveals and request.private then
      request.send_host, request.dropped = request.authority, REVEALED
    end
  end
  local origin, status
  origin, err, status = way:origin(ctx, request, stream)
  if not origin then
    return refuse(ctx, stream, request, status, err)
  end
  request.origin = origin
  return forward.serve(engine, ctx, stream, request)
end

-- A request for another proxy opens a tunnel inside this one: that is nobody's to look into.
local function is_connect(stream)
  local seen = stream:peek(1)
  return seen and seen:find("^CONNECT ") ~= nil
end

--- Serve a connection that begins like HTTP.
-- @return true | nil, err
function M.serve(engine, ctx, stream, way)
  if is_connect(stream) then
    local upstream, err = way:connect(ctx, { proto = "http" })
    if not upstream then
      return nil, err
    end
    return ctx:relay(stream, upstream, engine.relay_options)
  end
  ctx.sniffed = { protocol = "http" }
  local follows = false
  while true do
    local request, err = receive(engine, ctx, stream, follows)
    if not request then
      return err == nil or nil, err
    end
    ctx.sniffed.host = request.host
    local result
    result, err = exchange(engine, ctx, stream, way, request)
    if result ~= KEEP then
      return result, err
    end
    follows = true
  end
end

return M
