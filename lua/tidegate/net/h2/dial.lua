-- What the dialers over HTTP/2 share: sessions to a node, used again by all who go there.

local failure = require "tidegate.failure"
local h2 = require "tidegate.native.h2"
local keepalive = require "tidegate.net.keepalive"
local native = require "tidegate.native.tls"
local reload = require "tidegate.tls.reload"
local sessions = require "tidegate.net.sessions"
local task = require "tidegate.native.task"
local tls = require "tidegate.tls"

local M = {}

local ATTEMPTS = 3 -- sessions tried for one stream: an old one may turn out to be dead
local BROKEN = { reset = true, eof = true, closed = true, busy = true, limit = true }

local KEYS = {
  handshakeTimeout = { type = "duration", doc = "limit on the TLS handshake" },
}

--- Add the common keys to a metadata schema.  @return the schema
function M.with(schema, prefix)
  for key, spec in pairs(KEYS) do
    schema[key] = spec
  end
  return keepalive.with(schema, prefix)
end

--- Prepare an instance.
-- @param options { alpn = list or nil (no TLS), idle = seconds a session is kept without streams,
--   session = options for h2.start() }
-- @return true | nil, err
function M.open(self, options)
  if options.alpn then
    local err
    self.context, err = tls.client(self.tls, options.alpn)
    if not self.context then
      return nil, err
    end
  end
  self.session_options = options.session or {}
  self.session_options.client = true
  self.pool = sessions.new { idle = options.idle }
  self.trusted = setmetatable({}, { __mode = "k" })
  return true
end

function M.close(self)
  if self.pool then
    self.pool:close()
  end
end

--- Add what gost's client sends, and a configured map, to a header.
function M.add_fields(fields, map)
  local own = { ["accept-encoding"] = "gzip", ["user-agent"] = "Go-http-client/2.0" }
  for name, value in pairs(map or {}) do
    own[tostring(name):lower()] = (tostring(value):gsub("[%z\r\n]", ""))
  end
  for name, value in pairs(own) do
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  return fields
end

local function secure(self, ctx, stream, deadline)
  reload.check(self.context)
  local own = ctx:after(self.md.handshakeTimeout)
  if own and (not deadline or own < deadline) then
    deadline = own
  end
  local upper, err = native.client(stream, self.context, self.tls and self.tls.serverName, deadline)
  if not upper then
    return nil, err
  end
  local info = native.info(upper)
  if not info or info.alpn ~= "h2" then
    upper:close()
    return nil, failure.new("tls", "the server does not agree on HTTP/2 (ALPN h2)", { layer = "h2" })
  end
  return upper
end

local function connect(self, ctx, node, via, deadline)
  local stream, err = node:carrier(ctx, via, deadline)
  if stream and self.context then
    stream, err = secure(self, ctx, stream, deadline)
  end
  return stream and h2.start(stream, self.session_options), err
end

-- Is it the session that is broken, and not what was asked for?
local function is_stale(self, session, err, asked_at)
  if BROKEN[err.code] and not session:is_alive() or err.code == "busy" then
    return true
  elseif err.code == "timeout" and session:silence() >= task.now() - asked_at then
    self.pool:forget(session) -- nothing comes over it any more
  end
  return false
end

--- A session to the node.  @return session, whether it was used before | nil, err
function M.session(self, ctx, node, deadline)
  local via = ctx.via
  return self.pool:take(function()
    return connect(self, ctx, node, via, deadline)
  end, deadline)
end

--- Send a request over a session to the node.  One that was used before and has broken is replaced
-- without a word.
-- @param fields the header
-- @param ready nil or function(stream) → what to return | nil, err; bounded by the deadline
-- @param optimistic once ready() was content with a stream of a session, answers to others are not waited
--   for, until one is refused
-- @return stream | nil, err
function M.stream(self, ctx, node, deadline, fields, ready, optimistic)
  local stream, err
  for _ = 1, ATTEMPTS do
    local session, used = M.session(self, ctx, node, deadline)
    if not session then
      return nil, used
    end
    local asked_at = task.now()
    stream, err = session:request(fields)
    if stream and optimistic and self.trusted[session] == session:refusals() then
      h2.expect_ok(stream)
      return stream
    elseif stream and not ready then
      return stream
    elseif stream then
      stream:set_deadline(deadline)
      local result
      result, err = ready(stream)
      if result then
        stream:set_deadline(nil)
        self.trusted[session] = session:refusals()
        return result
      end
      stream:close()
      self.trusted[session] = nil
      if not is_stale(self, session, err, asked_at) or not used then
        break
      end
    end
  end
  return nil, err
end

return M
