-- DNS over HTTPS (RFC 8484): POST by HTTP/2 where the server has it, else by HTTP/1.1.

local connection = require "tidegate.net.connection"
local failure = require "tidegate.failure"
local h2 = require "tidegate.native.h2"
local http = require "tidegate.net.http"
local native_tls = require "tidegate.native.tls"
local sessions = require "tidegate.net.sessions"

local ANSWER_MAX = 65535
local MEDIA_TYPE = "application/dns-message"
local IDLE = 90 -- seconds a session waits for another question
local PROTOCOLS = { "h2", "http/1.1" }
local DEAD = { eof = true, reset = true, closed = true, busy = true, limit = true }

local M = {}

local function refused(status)
  return nil, failure.new("protocol", ("the server answers with status %s"):format(tostring(status)), {
    layer = "dns over https",
  })
end

local function by_http1(server, query, deadline)
  local response, err = http.request {
    url = server.url,
    method = "POST",
    headers = { ["content-type"] = MEDIA_TYPE, accept = MEDIA_TYPE },
    body = query,
    deadline = deadline,
    limit = ANSWER_MAX,
    tls = server.tls,
    chain = server.chain,
    registry = server.registry,
    repeatable = true,
  }
  if not response then
    return nil, err
  elseif response.status ~= 200 then
    return refused(response.status)
  end
  return response.body
end

-- HTTP/2 ------------------------------------------------------------------------------------------

-- @return a session | nil, err; server.http1 tells that there is none to be had
local function open(server, deadline)
  local settings = { options = { alpn = PROTOCOLS } }
  for key, value in pairs(server.tls) do
    settings[key] = value
  end
  local stream, err = connection.open(server.at, { dial = server.dial, tls = settings, deadline = deadline }, true)
  if not stream then
    return nil, err
  end
  local info = native_tls.info(stream)
  if not info or info.alpn ~= "h2" then
    server.http1 = true
    stream:close()
    return nil, failure.new("unsupported", "the server has no HTTP/2")
  end
  return h2.start(stream, { client = true })
end

local function read_body(stream)
  local parts, total = {}, 0
  while true do
    local bytes, err = stream:read()
    if not bytes then
      if err.code == "eof" then
        return table.concat(parts)
      end
      return nil, err
    end
    parts[#parts + 1], total = bytes, total + #bytes
    if total > ANSWER_MAX then
      return nil, failure.new("limit", "the answer is too long", { layer = "dns over https" })
    end
  end
end

local function post(stream, query)
  local ok, err = stream:write(query)
  if not ok then
    return nil, err
  end
  stream:shutdown()
  local headers
  headers, err = h2.headers(stream)
  if not headers then
    return nil, err
  elseif headers[":status"] ~= "200" then
    return refused(headers[":status"])
  end
  return read_body(stream)
end

local function by_session(server, session, query, deadline)
  local stream, err = session:request {
    ":method", "POST", ":scheme", "https", ":authority", server.at.authority, ":path", server.at.path,
    "content-type", MEDIA_TYPE, "accept", MEDIA_TYPE, "content-length", tostring(#query), "user-agent", "tidegate",
  }
  if not stream then
    return nil, err
  end
  stream:set_deadline(deadline)
  local bytes
  bytes, err = post(stream, query)
  stream:close()
  return bytes, err
end

-- A session that was used before may have died meanwhile; then a new one is tried.
local function by_http2(server, query, deadline)
  for _ = 1, 2 do
    local session, used = server.sessions:take(function()
      return open(server, deadline)
    end, deadline)
    if not session then
      return nil, used
    end
    local bytes, err = by_session(server, session, query, deadline)
    if bytes then
      return bytes
    end
    if err.code ~= "protocol" then
      server.sessions:forget(session)
    end
    if not used or not DEAD[err.code] then
      return nil, err
    end
  end
  return nil, failure.new("closed", "the server closes its sessions", { layer = "dns over https" })
end

--- Make a server ready to be asked.
-- @param server with at, tls, maybe dial = function() → stream, chain and registry
function M.prepare(server)
  server.url = "https://" .. server.at.authority .. server.at.path
  server.sessions = sessions.new { idle = IDLE }
end

--- Send a query.  @return bytes of the answer | nil, err
function M.ask(server, query, deadline)
  if not server.http1 then
    local bytes, err = by_http2(server, query, deadline)
    if bytes or not server.http1 then
      return bytes, err
    end
  end
  return by_http1(server, query, deadline)
end

--- Close the sessions.
function M.close(server)
  server.sessions:close()
end

return M
