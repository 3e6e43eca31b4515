-- One question to one name server and back, by UDP, TCP, TLS or HTTPS, over a chain or not.
--
-- A transport is function(server, query bytes, accept, deadline) → what accept() returned | nil, err.
-- `accept(bytes)` → answer | nil, err, fatal: with `fatal` false another datagram may still be the answer.

local addr = require "tidegate.net.addr"
local connection = require "tidegate.net.connection"
local failure = require "tidegate.failure"
local https = require "tidegate.net.dns.https"
local packet = require "tidegate.native.packet"
local resolve = require "tidegate.net.resolve"
local task = require "tidegate.native.task"

local FIRST_RESEND_MS = 1000 -- a datagram may get lost; the pauses double
local STALE = { eof = true, reset = true, closed = true }
local POOL_KEY = "" -- a pool belongs to one server

local M = {}

-- Dialing -----------------------------------------------------------------------------------------

local function through_chain(server, method, network, deadline)
  local registry = server.registry
  if not registry then
    return nil, failure.new("config", "there are no chains here")
  end
  return registry[method](registry, network, addr.join(server.at.host, server.at.port), {
    chain = server.chain, deadline = deadline,
  })
end

--- How a server behind a chain is dialed.
function M.dialer(server)
  return function(_, deadline)
    return through_chain(server, "connect", "tcp", deadline)
  end
end

-- @return stream | nil, err
local function dial(server, deadline, secure)
  local options = { dial = server.dial, deadline = deadline, tls = secure and server.tls or nil }
  return connection.open(server.at, options, secure)
end

-- @return a packet endpoint connected to the server | nil, err
local function open_socket(server, deadline)
  if server.chain then
    return connection.within(deadline, through_chain, server, "packets", "udp", deadline)
  end
  local ips, err = resolve.lookup(server.at.host, deadline)
  if not ips then
    return nil, err
  end
  return packet.udp { connect = addr.join(ips[1], server.at.port), strict = true }
end

-- UDP ---------------------------------------------------------------------------------------------

-- Wait for the answer until `moment`.  @return answer | nil, err, whether to go on waiting
local function receive(endpoint, accept, moment)
  endpoint:set_deadline(moment)
  while true do
    local bytes, err = endpoint:recv()
    if not bytes then
      return nil, err, err.code == "timeout"
    end
    local answer, why, fatal = accept(bytes)
    if answer or fatal then
      return answer, why, false
    end
  end
end

local function ask_by_datagram(endpoint, query, accept, deadline)
  local pause = FIRST_RESEND_MS
  while true do
    local ok, err = endpoint:send(query)
    if not ok then
      return nil, err
    end
    local now = task.now()
    local moment = deadline and math.min(now + pause, deadline) or now + pause
    local answer, again
    answer, err, again = receive(endpoint, accept, moment)
    if answer or not again or deadline and task.now() >= deadline then
      return answer, err
    end
    pause = pause * 2
  end
end

function M.udp(server, query, accept, deadline)
  local endpoint, err = open_socket(server, deadline)
  if not endpoint then
    return nil, err
  end
  local answer
  answer, err = ask_by_datagram(endpoint, query, accept, deadline)
  endpoint:close()
  if answer and answer.tc then
    local whole, why = M.tcp(server, query, accept, deadline)
    if whole or #answer.answers == 0 then -- part of an answer is better than none
      return whole, why
    end
  end
  return answer, err
end

-- Streams -----------------------------------------------------------------------------------------

local function framed(bytes)
  return string.char(math.floor(#bytes / 256), #bytes % 256) .. bytes
end

-- @return bytes of the answer | nil, err
local function ask_by_frame(stream, query)
  local ok, err = stream:write(framed(query))
  if not ok then
    return nil, err
  end
  local length
  length, err = stream:read_exact(2)
  if not length then
    return nil, err
  end
  return stream:read_exact(length:byte(1) * 256 + length:byte(2))
end

-- @return answer, the stream can be used again | nil, err, whether the stream was none any more
local function exchange(stream, query, accept, deadline)
  stream:set_deadline(deadline)
  local bytes, err = ask_by_frame(stream, query)
  if not bytes then
    stream:close()
    return nil, err, STALE[err.code]
  end
  local answer
  answer, err = accept(bytes)
  if not answer then
    stream:close()
    return nil, err
  end
  stream:set_deadline(nil)
  return answer, stream
end

function M.tcp(server, query, accept, deadline)
  local stream, err = dial(server, deadline, false)
  if not stream then
    return nil, err
  end
  local answer
  answer, err = exchange(stream, query, accept, deadline)
  stream:close()
  return answer, not answer and err or nil
end

-- Connections are kept for the next question; one that the server has closed meanwhile is no failure.
function M.tls(server, query, accept, deadline)
  local used = server.pool:take(POOL_KEY)
  if used then
    local answer, err, stale = exchange(used, query, accept, deadline)
    if answer then
      server.pool:put(POOL_KEY, err)
      return answer
    elseif not stale then
      if err.code == "timeout" then
        server.pool:clear() -- nothing may come over the others, too
      end
      return nil, err
    end
  end
  local stream, err = dial(server, deadline, true)
  if not stream then
    return nil, err
  end
  local answer
  answer, err = exchange(stream, query, accept, deadline)
  if not answer then
    return nil, err
  end
  server.pool:put(POOL_KEY, stream)
  return answer
end

function M.https(server, query, accept, deadline)
  local bytes, err = https.ask(server, query, deadline)
  if not bytes then
    return nil, err
  end
  local answer
  answer, err = accept(bytes)
  return answer, not answer and err or nil
end

return M
