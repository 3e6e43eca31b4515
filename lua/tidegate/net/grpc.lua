-- gRPC client: unary calls over HTTP/2 connections that are kept and used again.

local addr = require "tidegate.net.addr"
local base64 = require "tidegate.net.http.base64"
local bit = require "bit"
local failure = require "tidegate.failure"
local h2 = require "tidegate.native.h2"
local native_stream = require "tidegate.native.stream"
local native_tls = require "tidegate.native.tls"
local resolve = require "tidegate.net.resolve"
local sessions = require "tidegate.net.sessions"
local task = require "tidegate.native.task"
local tls = require "tidegate.tls"

local M = {}
local methods = {}
local mt = { __name = "tidegate.grpc", __index = methods }

local CONNECT_TIMEOUT = 10000 -- ms, unless the call's deadline is earlier
local FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 500, 10000, 1.6 -- ms between attempts to connect
local MAX_MESSAGE = 4 * 1024 * 1024
local IDLE = 300

-- By number: name, code of the failure.
local STATUS = {
  [1] = { "CANCELLED", "canceled" },
  [2] = { "UNKNOWN", "io" },
  [3] = { "INVALID_ARGUMENT", "invalid" },
  [4] = { "DEADLINE_EXCEEDED", "timeout" },
  [5] = { "NOT_FOUND", "invalid" },
  [6] = { "ALREADY_EXISTS", "inuse" },
  [7] = { "PERMISSION_DENIED", "denied" },
  [8] = { "RESOURCE_EXHAUSTED", "limit" },
  [9] = { "FAILED_PRECONDITION", "invalid" },
  [10] = { "ABORTED", "canceled" },
  [11] = { "OUT_OF_RANGE", "invalid" },
  [12] = { "UNIMPLEMENTED", "unsupported" },
  [13] = { "INTERNAL", "protocol" },
  [14] = { "UNAVAILABLE", "busy" },
  [15] = { "DATA_LOSS", "protocol" },
  [16] = { "UNAUTHENTICATED", "auth" },
}

-- What a response without a grpc-status means, by its HTTP status.
local OF_HTTP = {
  [400] = 13, [401] = 16, [403] = 7, [404] = 12, [429] = 14, [502] = 14, [503] = 14, [504] = 14,
}

local function problem(self, code, message, fields)
  fields = fields or {}
  fields.layer, fields.addr = "grpc", self.addr
  return failure.new(code, message, fields)
end

-- Connecting ----------------------------------------------------------------------------------------

local function locate(self, deadline)
  if addr.is_ip(self.host) then
    return addr.join(self.host, self.port)
  end
  local ips, err = resolve.lookup(self.host, deadline)
  if not ips then
    return nil, err
  end
  local list = {}
  for i, ip in ipairs(type(ips) == "table" and ips or { ips }) do
    list[i] = addr.join(ip, self.port)
  end
  return list
end

local function dial(self, deadline)
  if self.dial then
    return self.dial(self.addr, deadline)
  elseif self.addr:sub(1, 5) == "unix:" then
    return native_stream.dial(self.addr, nil, deadline)
  end
  local where, err = locate(self, deadline)
  if not where then
    return nil, err
  end
  return native_stream.dial(where, nil, deadline)
end

local function secure(self, stream, deadline)
  local upper, err = native_tls.client(stream, self.context, self.server_name, deadline)
  if not upper then
    return nil, err
  end
  local info = native_tls.info(upper)
  if not info or info.alpn ~= "h2" then
    upper:close()
    return nil, problem(self, "tls", "the server does not agree on HTTP/2 (ALPN h2)")
  end
  return upper
end

local function connect(self, deadline)
  local stream, err = dial(self, deadline)
  if stream and self.context then
    stream, err = secure(self, stream, deadline)
  end
  if not stream then
    return nil, failure.wrap(err)
  end
  return h2.start(stream, {
    client = true,
    keepalive = self.keepalive,
    timeout = self.keepalive and 20 or nil,
  })
end

-- Failed attempts are followed by a pause, in which calls fail at once.
local function open(self, deadline)
  local now = task.now()
  if self.failed and now < self.retry_at then
    return nil, problem(self, self.failed.code, "not connected", { op = "connect", cause = self.failed })
  end
  local limit = now + CONNECT_TIMEOUT
  local session, err = connect(self, deadline and math.min(deadline, limit) or limit)
  if session then
    self.failed, self.pause = nil, nil
    return session
  end
  self.pause = math.min((self.pause or FIRST_PAUSE / GROWTH) * GROWTH, self.longest_pause)
  self.failed, self.retry_at = err, task.now() + self.pause * (0.8 + 0.4 * math.random())
  return nil, err:during("connect", { layer = "grpc", addr = self.addr })
end

-- Calls ---------------------------------------------------------------------------------------------

local function uint32(n)
  return string.char(bit.band(bit.rshift(n, 24), 255), bit.band(bit.rshift(n, 16), 255),
    bit.band(bit.rshift(n, 8), 255), bit.band(n, 255))
end

-- Milliseconds as grpc-timeout says them: at most eight digits and a unit.
local function timeout_text(ms)
  ms = math.max(1, math.ceil(ms))
  if ms < 1e8 then
    return ("%dm"):format(ms)
  end
  return ("%dS"):format(math.min(math.floor(ms / 1000), 99999999))
end

local function request_fields(self, path, metadata, deadline)
  local fields = {
    ":method", "POST",
    ":scheme", self.context and "https" or "http",
    ":path", path,
    ":authority", self.authority,
    "content-type", "application/grpc",
    "user-agent", "grpc-tidegate",
    "te", "trailers",
  }
  if deadline then
    fields[#fields + 1] = "grpc-timeout"
    fields[#fields + 1] = timeout_text(deadline - task.now())
  end
  for name, value in pairs(metadata or {}) do
    name, value = name:lower(), tostring(value)
    fields[#fields + 1] = name
    fields[#fields + 1] = name:sub(-4) == "-bin" and base64.encode(value) or value
  end
  return fields
end

local function decode_percent(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

-- @return true: status 0 | nil, err
local function judge(self, status, message)
  local number = tonumber(status)
  if number == 0 then
    return true
  end
  local known = STATUS[number] or STATUS[2]
  local text = known[1]
  if message and message ~= "" then
    text = text .. ": " .. decode_percent(message)
  end
  return nil, problem(self, known[2], text, { grpc_status = number or 2 })
end

-- A response that is no answer to a call.
local function judge_http(self, headers)
  local status = tonumber(headers[":status"])
  if status == 200 then
    if not (headers["content-type"] or ""):find("^application/grpc") then
      return nil, problem(self, "protocol", "the server does not speak gRPC")
    end
    return true
  end
  local known = STATUS[OF_HTTP[status] or 2]
  return nil, problem(self, known[2], ("the server answers with HTTP status %s"):format(
    tostring(status)), { grpc_status = OF_HTTP[status] or 2 })
end

local function read_body(self, stream)
  local parts, size = {}, 0
  while true do
    local part, err = stream:read()
    if not part then
      if err.code == "eof" then
        return table.concat(parts)
      end
      return nil, err
    end
    size = size + #part
    if size > self.max_message + 5 then
      return nil, problem(self, "limit", "the answer is too long")
    end
    parts[#parts + 1] = part
  end
end

local function unpack_message(self, body)
  if #body < 5 then
    return nil, problem(self, "protocol", "the answer holds no message")
  end
  local flag, a, b, c, d = body:byte(1, 5)
  if flag ~= 0 then
    return nil, problem(self, "unsupported", "the answer is compressed")
  elseif ((a * 256 + b) * 256 + c) * 256 + d ~= #body - 5 then
    return nil, problem(self, "protocol", "the answer is not one message")
  end
  return body:sub(6)
end

local function receive(self, stream)
  local headers, err = h2.headers(stream)
  if not headers then
    return nil, err
  end
  local ok
  if headers["grpc-status"] then -- it is all there is
    ok, err = judge(self, headers["grpc-status"], headers["grpc-message"])
    return nil, not ok and err or problem(self, "protocol", "the answer holds no message")
  end
  ok, err = judge_http(self, headers)
  if not ok then
    return nil, err
  end
  local body
  body, err = read_body(self, stream)
  if not body then
    return nil, err
  end
  local trailers = h2.trailers(stream) or {}
  ok, err = judge(self, trailers["grpc-status"], trailers["grpc-message"])
  if not ok then
    return nil, err
  end
  return unpack_message(self, body)
end

local function call(self, session, path, bytes, metadata, deadline)
  local asked_at = task.now()
  local stream, err = session:request(request_fields(self, path, metadata, deadline))
  if not stream then
    return nil, err, true
  end
  stream:set_deadline(deadline)
  local ok, answer
  ok, err = stream:write("\0", uint32(#bytes), bytes)
  if ok then
    ok, err = stream:shutdown()
  end
  if ok or err.code == "reset" then -- a refusal says why
    answer, err = receive(self, stream)
  end
  stream:close()
  if not answer and err.code == "timeout" and session:silence() >= task.now() - asked_at then
    self.pool:forget(session) -- nothing comes over it any more
  end
  return answer, err, not answer and err.code == "busy" and not err.grpc_status
end

--- Make a channel to a server; it connects when it is needed, and again when that is lost.
-- @param options { addr = "host:port" or "unix:/path", tls = nil (plain) or gost's `tls` object,
--   authority = instead of addr's host and port, keepalive = seconds of silence before a ping,
--   max_message = bytes of an answer, longest_pause = seconds between attempts to connect,
--   dial = nil or function(addr, deadline) → stream | nil, err }
-- @return channel | nil, err
function M.open(options)
  local host, port = addr.split(options.addr)
  local config = options.tls
  local self = setmetatable({
    addr = options.addr,
    host = host,
    port = port or (config and 443 or 80),
    dial = options.dial,
    authority = options.authority or options.addr:gsub("^unix:.*", "localhost"),
    keepalive = options.keepalive,
    max_message = options.max_message or MAX_MESSAGE,
    longest_pause = options.longest_pause and options.longest_pause * 1000 or LONGEST_PAUSE,
    pool = sessions.new { idle = IDLE },
  }, mt)
  if config then
    local err
    self.context, err = tls.client(config, { "h2" })
    if not self.context then
      return nil, err
    end
    self.server_name = config.serverName ~= "" and config.serverName or host
  end
  return self
end

--- Call a method that takes one message and answers with one.
-- @param path "/package.Service/Method"
-- @param bytes the encoded message
-- @param metadata nil or name → value
-- @param deadline nil or ms on the loop's clock
-- @return the encoded answer | nil, err (err.grpc_status: its number, when the server gave one)
function methods:unary(path, bytes, metadata, deadline)
  local answer, err
  for _ = 1, 2 do
    local session
    session, err = self.pool:take(function()
      return open(self, deadline)
    end, deadline)
    if not session then
      return nil, err
    end
    local untouched
    answer, err, untouched = call(self, session, path, bytes, metadata, deadline)
    if answer then
      return answer
    elseif not untouched then
      break
    end
  end
  return nil, err:during(path, { layer = "grpc", addr = self.addr, grpc_status = err.grpc_status })
end

--- Close its connections; calls that run are finished.
function methods:close()
  self.pool:close()
end

return M
