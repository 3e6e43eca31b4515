-- Plain HTTP requests: one request to an upstream, one response back, bodies moved in C.

local body = require "tidegate.native.body"
local cache = require "tidegate.handler.http.cache"
local copy = require "tidegate.handler.http.copy"
local failure = require "tidegate.failure"
local h2 = require "tidegate.native.h2"
local head = require "tidegate.net.http.head"
local lines = require "tidegate.handler.http.lines"
local linger = require "tidegate.net.linger"
local origin = require "tidegate.handler.http.origin"
local recording = require "tidegate.handler.http.record"
local reply = require "tidegate.handler.http.reply"
local rewriting = require "tidegate.handler.http.rewriting"
local silence = require "tidegate.chain.silence"
local task = require "tidegate.native.task"
local upload = require "tidegate.handler.http.upload"
local websocket = require "tidegate.handler.http.websocket"

local body_copy = body.copy
local string_lower = string.lower

local M = {}

--- What serve() returns when the connection lives on.
M.KEEP = "keep"

local KEEP = M.KEEP
local BAD_GATEWAY = reply.empty(502)
local UNAVAILABLE = reply.empty(503)
local FORBIDDEN = reply.empty(403)
local USER_AGENT = "User-Agent: Go-http-client/1.1\r\n" -- gost's, when the client sends none

local function set(names)
  local out = {}
  for name in names:gmatch("%S+") do
    out[name] = true
  end
  return out
end

-- Fields that are between two neighbours only, and what the client tells the proxy.
local REQUEST_DROPPED = set [[ host connection keep-alive proxy-connection proxy-authorization
  gost-target x-gost-target gost-record upgrade ]]
local RESPONSE_DROPPED = set "connection keep-alive proxy-connection"
local SWITCH_DROPPED = set "connection keep-alive proxy-connection upgrade"
local RESPONSE_DROPPED_PLAIN = set [[ connection keep-alive proxy-connection transfer-encoding
  trailer ]]
local RESPONSE_DROPPED_WHOLE = set [[ connection keep-alive proxy-connection transfer-encoding
  trailer content-length ]]
local RESPONSE_DROPPED_UNPACKED = set [[ connection keep-alive proxy-connection transfer-encoding
  trailer content-length content-encoding ]]
local STORED_SECONDS = 60 -- in which a client must take a stored response
local REPEATABLE = set "GET HEAD OPTIONS TRACE"
local ATTEMPTS = 3

-- The protocol a request wants to change to, or nil.  Not HTTP/2: its requests would go past whoever looks
-- at those of HTTP/1.1.
local function wanted_upgrade(request)
  if request.minor == 1 and head.has_token(request.connection, "upgrade") then
    local upgrade = head.get(request, "upgrade")
    return upgrade and not head.has_token(upgrade, "h2c") and upgrade or nil
  end
end

-- Ask for a packed response on our own behalf, when the client does not choose itself.
local function ask_packed(self, request)
  if not self.md["http.compression"] or request.method == "HEAD"
    or head.get(request, "accept-encoding") or head.get(request, "range") then
    return ""
  end
  request.packed_for_us = true
  return "Accept-Encoding: gzip\r\n"
end

-- A request can say how its head differs from the client's: send_target, send_host, dropped (the set of fields
-- that do not go on) and added (field lines).  There always is a Host, if only an empty one (RFC 9112 3.2).
local function request_head(self, request, upgrade)
  local tail = ask_packed(self, request)
  if upgrade then
    tail = tail .. "Connection: Upgrade\r\nUpgrade: " .. upgrade .. "\r\n"
  elseif not request.origin:lasts(self) then
    tail = tail .. "Connection: close\r\n"
  end
  local dropped, host = request.dropped, request.send_host or request.authority
  local agent = not dropped and not head.get(request, "user-agent") and USER_AGENT or ""
  return ("%s %s HTTP/1.1\r\nHost: %s\r\n%s%s%s%s\r\n"):format(request.method, request.send_target or request.path,
    host, agent, head.lines(request, dropped or REQUEST_DROPPED),
    request.added or "", tail)
end

local function response_head(request, response, dropped, tail)
  local fields = request.settings and request.settings.response_fields
  local reason = response.reason ~= "" and response.reason or reply.reason(response.status)
  return ("HTTP/1.%d %03d %s\r\n%s%s%s\r\n"):format(request.minor, response.status, reason,
    head.lines(response, fields and fields:without(dropped) or dropped), fields and fields.lines or "", tail)
end

-- Responses ---------------------------------------------------------------------------------------

-- The time limit counts from the end of the upload.  Between two that speak HTTP/2 there is none: calls may take
-- their time, and who does not want to wait takes the request back.
local function receive_head(self, upstream, request, job)
  local limit = not request.patient and self.md.readTimeout > 0 and self.md.readTimeout * 1000 or nil
  while true do
    upstream:set_deadline(limit and task.now() + limit)
    local response, err = head.response(upstream)
    local uploading = job and (not job.over or limit and task.now() < job.ended + limit)
    if response or err.code ~= "timeout" or not uploading then
      upstream:set_deadline(nil)
      return response, err
    end
  end
end

-- Receive the final response (or 101); what comes before it goes to the client as it is.
-- @return response | nil, err, whether it is the client who is gone
local function receive(self, stream, upstream, request, job)
  while true do
    local response, err = receive_head(self, upstream, request, job)
    if not response then
      local gone = upload.client_failure(job)
      return nil, gone or err:during("response"), gone ~= nil
    elseif response.status >= 200 or response.status == 101 then
      return response
    elseif request.minor == 1 then
      local ok
      ok, err = stream:write(response_head(request, response, RESPONSE_DROPPED, ""))
      if not ok then
        return nil, err:during("interim response"), true
      end
    end
  end
end

-- 101: from here on it is a tunnel.
local function switch(self, ctx, stream, upstream, request, response, upgrade, job)
  local agreed = head.get(response, "upgrade")
  if job or not upgrade or not agreed or string_lower(agreed) ~= string_lower(upgrade) then
    stream:write(UNAVAILABLE)
    return nil, failure.new("protocol", "upgrade to " .. tostring(agreed) .. " was not asked for",
      { layer = "http", op = "response" })
  end
  if request.rec then
    recording.response(request.rec, response, 0)
  end
  local ok, err = stream:write(response_head(request, response, SWITCH_DROPPED,
    "Connection: Upgrade\r\nUpgrade: " .. agreed .. "\r\n"))
  if not ok then
    return nil, err:during("response")
  end
  if self.websocket and request.rec and string_lower(agreed) == "websocket" then
    return websocket.serve(self, ctx, stream, upstream, request.rec)
  end
  return ctx:relay(stream, upstream, self.relay_options)
end

-- An HTTP/1.0 client takes no chunks; a second coding beneath them could not be told to it.
local function inexpressible(request, response)
  return request.minor == 0 and response.chunked
    and string_lower(head.get(response, "transfer-encoding")) ~= "chunked"
end

-- Is the body packed only because we asked for it?
local function to_unpack(request, response, framing)
  return request.packed_for_us and framing ~= 0
    and string_lower(head.get(response, "content-encoding") or "") == "gzip"
end

-- How a response goes out whose body was changed.
-- @param whole the new body; nil: it comes in chunks (or, to old clients, until the end)
-- @return head, whether to close
local function shape_changed(request, response, whole, unread)
  local old = request.minor == 0
  local closing = not request.persistent or unread or not whole and old
  local tail = closing and "Connection: close\r\n" or old and "Connection: keep-alive\r\n" or ""
  if whole then
    tail = tail .. ("Content-Length: %d\r\n"):format(#whole)
  elseif not old then
    tail = tail .. "Transfer-Encoding: chunked\r\n"
  end
  return response_head(request, response, RESPONSE_DROPPED_WHOLE, tail), closing
end

-- How the response goes out.
-- @return head, what body.copy() does to the bytes, whether to close
local function shape(request, response, framing, unread)
  local old = request.minor == 0
  local unpack = to_unpack(request, response, framing)
  local plain = old and (unpack or framing == "chunked")
  local closing = not request.persistent or plain or unread or framing == "close" and not unpack
  local tail = closing and "Connection: close\r\n" or old and "Connection: keep-alive\r\n" or ""
  local dropped, change = RESPONSE_DROPPED, nil
  if unpack then
    dropped, change = RESPONSE_DROPPED_UNPACKED, old and "unpack" or "unpack-chunks"
    tail = old and tail or "Transfer-Encoding: chunked\r\n" .. tail
  elseif plain then
    dropped, change = RESPONSE_DROPPED_PLAIN, "plain"
  end
  return response_head(request, response, dropped, tail), change, closing
end

-- The response is over: an upload that still goes on has lost its purpose.
local function settle(ctx, upstream, job)
  if job and not job.over then
    origin.drop(ctx, upstream)
    job.waiter:wait()
    return false
  end
  return not job or job.ok
end

-- How a body goes out that came in `framing`.
local function framing_out(framing, change)
  return change == "unpack-chunks" and "chunked" or change and "close" or framing
end

-- Move the body, and keep a copy of it for whoever wants one.
-- @return as body.copy()
local function send_body(self, upstream, stream, request, response, framing, bytes, change)
  local rec, out = request.rec, framing_out(framing, change)
  local to_store = cache.room(self, request.entry, request, response)
  local room = math.max(recording.room(rec, out), copy.room(to_store, out))
  local moved, err, side, so_far, kept, cut = body_copy(upstream, stream, framing, bytes, 0, self.stall, change, room)
  if moved then
    kept, cut = err, side
    err, side = nil, nil
  end
  if rec and room > 0 then
    recording.response_body(rec, kept, out)
  end
  if to_store > 0 and moved and not cut then
    cache.store(self, request.entry, request, response, copy.body(kept, out), to_unpack(request, response, framing))
  end
  return moved, err, side, so_far
end

-- A body that was changed, which goes out whole.  @return true | nil, err
local function send_whole(self, stream, request, response, bytes, whole)
  if request.rec then
    recording.response_body(request.rec, whole:sub(1, recording.room(request.rec, #whole)), #whole)
  end
  stream:set_deadline(self.stall > 0 and task.now() + self.stall or nil)
  local ok, err = stream:write(bytes, whole)
  stream:set_deadline(nil)
  if ok and cache.room(self, request.entry, request, response) > 0 then
    cache.store(self, request.entry, request, response, whole)
  end
  return ok, err
end

-- A stream of events, each changed by itself.  @return true | nil, err
local function send_events(self, ctx, upstream, stream, request, framing, bytes, rules)
  local ok, err = stream:write(bytes)
  if not ok then
    return nil, err
  end
  local chunked = request.minor == 1
  ok, err = rewriting.events(ctx, upstream, request, framing, rules, function(event)
    stream:set_deadline(self.stall > 0 and task.now() + self.stall or nil)
    if chunked then
      return stream:write(("%x\r\n"):format(#event), event, "\r\n")
    end
    return stream:write(event)
  end)
  if ok and chunked then
    return stream:write "0\r\n\r\n"
  end
  return ok, err
end

-- Pass the response on.  @return KEEP | true: it is over | nil, err
local function respond(self, ctx, stream, upstream, request, response, job)
  local framing = head.response_framing(response, request.method)
  local unread = job ~= nil and not job.ok -- the client's body is not through, and may never be
  local rules, events = rewriting.rules_for(request, response, framing)
  local whole, ok, err
  if rules and not events then
    whole, err = rewriting.response(self, ctx, upstream, request, response, framing, rules)
    if err then
      return nil, err
    end
  end
  local bytes, change, closing
  if whole or events then
    bytes, closing = shape_changed(request, response, whole, unread)
  else
    bytes, change, closing = shape(request, response, framing, unread)
  end
  stream:set_deadline(nil)
  if request.rec and (whole or events or request.settings and request.settings.response_fields) then
    recording.response_changed(request.rec, response, framing, bytes, whole and #whole)
  elseif request.rec then
    recording.response(request.rec, response, framing)
  end

  if whole then
    ok, err = send_whole(self, stream, request, response, bytes, whole)
  elseif events then
    ok, err = send_events(self, ctx, upstream, stream, request, framing, bytes, rules)
  elseif framing == 0 then
    ok, err = stream:write(bytes)
    if ok and cache.room(self, request.entry, request, response) > 0 then
      cache.store(self, request.entry, request, response)
    end
  else
    ok, err = send_body(self, upstream, stream, request, response, framing, bytes, change)
  end
  if not ok then
    return nil, upload.client_failure(job) or err:during("response body")
  end

  local settled = settle(ctx, upstream, job)
  local reusable = settled and response.persistent and framing ~= "close"
  if not (reusable and request.origin:keep(self, ctx, request, upstream)) then
    origin.drop(ctx, upstream)
  end
  if closing or not settled then
    if unread then
      linger(stream)
    end
    return true
  end
  return KEEP
end

-- A request has failed before its answer.  @return whether another attempt is worth it
local function repeats(stream, request, used, job, err)
  if err.code == "closed" then -- the client has taken it back
    return false
  elseif request.multiplexed and err.code == "busy" then -- refused: nothing was done about it
    return not job or upload.rewind(job, stream)
  end
  return used == true and job == nil and REPEATABLE[request.method]
end

-- One attempt.  @return as M.serve, and whether another one is worth it
local function attempt(self, ctx, stream, request, fresh)
  local upgrade = wanted_upgrade(request)
  request.upgrade = upgrade
  local upstream, used = request.origin:open(self, ctx, request, fresh)
  if not upstream then
    return nil, used, "unavailable"
  end
  if request.rec then
    recording.upstream(request.rec, upstream)
  end
  request.patient = request.multiplexed and ctx.carrier_of_h2
  if request.patient then
    h2.tie(stream, upstream)
  end

  local job, err = upload.send(self, stream, upstream, request, request_head(self, request, upgrade))
  local response, client_gone
  if job ~= false then
    response, err, client_gone = receive(self, stream, upstream, request, job)
  end
  if not response then
    origin.drop(ctx, upstream)
    if job and not job.over then
      job.waiter:wait()
    end
    if client_gone then
      return nil, err
    end
    local again = repeats(stream, request, used, job, err)
    silence.ended(ctx, not again and ctx.unanswered, 1, 0)
    if request.multiplexed and request.origin.blame then
      err = request.origin:blame(err)
    elseif err.code == "eof" then
      err = failure.new("reset", "the server hung up without an answer", { layer = "http", op = "response" })
    end
    return nil, err, again and "again" or request.multiplexed and "bad" or "unavailable"
  end
  silence.ended(ctx, ctx.unanswered, 1, 1)
  if request.origin.judge then
    request.origin:judge(request, response)
  end
  if inexpressible(request, response) then
    origin.drop(ctx, upstream)
    return nil, failure.new("protocol", "a transfer coding HTTP/1.0 does not know",
      { layer = "http", op = "response" }), "unavailable"
  elseif response.status == 101 then
    return switch(self, ctx, stream, upstream, request, response, upgrade, job)
  end
  return respond(self, ctx, stream, upstream, request, response, job)
end

-- Refuse a request whose body may still be on its way.
local function refuse(stream, request, bytes)
  stream:write(bytes)
  if head.request_framing(request) ~= 0 then
    linger(stream)
  end
end

-- Answer from the cache.  @return as M.serve
local function serve_cached(ctx, stream, request)
  stream:set_deadline(ctx:after(STORED_SECONDS))
  local ok, err, lives, response = cache.serve(stream, request, request.entry.bytes)
  if request.rec then
    recording.response(request.rec, response, response.length or 0)
    request.rec.extra.http.cached = true
  end
  if not ok then
    return nil, err:during("response")
  end
  return lives and KEEP or true
end

-- Serve a request from the cache or by its origin.  @return as M.serve
local function exchange(self, ctx, stream, request)
  local entry = cache.lookup(self, ctx, request)
  request.entry = entry
  if entry and entry.fresh then
    return serve_cached(ctx, stream, request)
  end
  local result, err, verdict = attempt(self, ctx, stream, request, false)
  for _ = 2, ATTEMPTS do
    if verdict ~= "again" then
      break
    end
    result, err, verdict = attempt(self, ctx, stream, request, true)
  end
  if verdict and entry and entry.bytes and self.md["cache.serveStale"] then
    ctx.log:debug("the origin fails, an old response is served: " .. tostring(err))
    return serve_cached(ctx, stream, request)
  elseif verdict then
    local bytes = request.multiplexed and BAD_GATEWAY or UNAVAILABLE
    recording.replied(ctx, bytes)
    refuse(stream, request, bytes)
  end
  return result, err
end

--- Serve one forwarded request whose target is known and allowed.
-- @param self the engine: md (readTimeout, http.compression, cache.…), stall, pool, relay_options, cacheable
-- @param request with `origin`, where it goes (tidegate.handler.http.origin); by default, whom it names
-- @return KEEP | true: the connection is over, or a relay has it | nil, err
function M.serve(self, ctx, stream, request)
  request.origin = request.origin or origin.NAMED
  local line = lines.begin(ctx, request)
  local result, err = exchange(self, ctx, stream, request)
  if request.rec and not ctx.relayed then
    recording.finish(request.rec, ctx, err)
  end
  if line and not ctx.relayed then
    lines.finish(line, ctx, err)
  end
  return result, err
end

--- Refuse one request by policy.  @return KEEP | true: the connection is over
function M.forbid(ctx, stream, request, err)
  recording.replied(ctx, FORBIDDEN)
  refuse(stream, request, FORBIDDEN)
  if request.rec then
    recording.finish(request.rec, ctx, err)
  end
  return request.persistent and head.request_framing(request) == 0 and KEEP or true
end

return M
