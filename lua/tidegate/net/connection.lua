-- Connections of our own clients (HTTP, Redis, gRPC): dialed, and encrypted.

local addr = require "tidegate.net.addr"
local native_tls = require "tidegate.native.tls"
local resolve = require "tidegate.net.resolve"
local signature = require "tidegate.process.signature"
local stream_native = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "tidegate.tls"

local M = {}

local VERIFIED = { secure = true }
local MAX_CONTEXTS = 256

-- Contexts by the text of their settings.
local contexts, count = {}, 0

--- Dial a host by ourselves.  @return stream | nil, err
function M.dial(host, port, deadline)
  local ips, err = resolve.lookup(host, deadline)
  if not ips then
    return nil, err
  end
  local where = {}
  for i, ip in ipairs(ips) do
    where[i] = addr.join(ip, port)
  end
  return stream_native.dial(where, nil, deadline)
end

-- A script that makes settings up must not fill the memory.
local function context_of(settings)
  local key = signature.of(settings)
  local context, err = contexts[key], nil
  if not context then
    context, err = tls.client(settings)
    if not context then
      return nil, err
    end
    if count >= MAX_CONTEXTS then
      contexts, count = {}, 0
    end
    contexts[key], count = context, count + 1
  end
  return context
end

--- Encrypt a stream, as a client.
-- @param settings TLS settings as of a configuration; nil: the certificate is verified
-- @param host name the certificate must have, unless the settings name another
-- @return stream; the plain one is used up either way | nil, err
function M.encrypt(stream, settings, host, deadline)
  settings = settings or VERIFIED
  local context, err = context_of(settings)
  if not context then
    stream:close()
    return nil, err
  end
  local name = settings.serverName
  local secure
  secure, err = native_tls.client(stream, context, name and name ~= "" and name or host, deadline)
  if not secure then
    stream:close()
    return nil, err
  end
  return secure
end

local function finish(job, stream, err)
  if stream and job.late then
    stream:close()
  end
  job.over:wake(stream, err)
end

--- Call a function that makes a stream and knows no deadline; what comes too late is closed.
-- @return stream | nil, err
function M.within(deadline, open, ...)
  if not deadline then
    return open(...)
  end
  local job = { over = task.waiter(), late = false }
  task.spawn(function(...)
    finish(job, open(...))
  end, ...)
  local stream, err = job.over:wait(deadline)
  if not stream then
    job.late = true
  end
  return stream, err
end

--- A stream to a host, encrypted if asked for.
-- @param place { host, port }
-- @param options { dial = function(place, deadline) → stream, tls = settings, deadline = ms }
-- @return stream | nil, err
function M.open(place, options, secure)
  local stream, err
  if options.dial then
    stream, err = M.within(options.deadline, options.dial, place, options.deadline)
  else
    stream, err = M.dial(place.host, place.port, options.deadline)
  end
  if not stream or not secure then
    return stream, err
  end
  return M.encrypt(stream, options.tls, place.host, options.deadline)
end

return M
