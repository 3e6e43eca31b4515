-- What both ends of SOCKS5 share: gost's TLS methods, and requests as a client makes them.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local mux_schema = require "tidegate.net.mux_schema"
local socks = require "tidegate.native.socks"

local M = {}

--- The metadata keys of both ends.  @return the schema
function M.with(schema)
  schema["udp.bufferSize"] = {
    type = "int",
    aliases = { "udpBufferSize" },
    default = 4096,
    doc = "longest datagram",
  }
  return mux_schema.with(schema)
end

local REFUSALS = {
  [1] = { "unreachable", "general failure" },
  [2] = { "blocked", "not allowed by the server's rules" },
  [3] = { "unreachable", "network unreachable" },
  [4] = { "unreachable", "host unreachable" },
  [5] = { "refused", "connection refused" },
  [6] = { "timeout", "TTL expired" },
  [7] = { "unsupported", "command not supported" },
  [8] = { "unsupported", "address type not supported" },
}

local function refusal(code)
  local known = REFUSALS[code]
  if known then
    return failure.new(known[1], "the server answers: " .. known[2])
  end
  return failure.new("protocol", ("SOCKS5 reply %d"):format(code))
end

--- Wait for a reply.  @return host, port | nil, err
function M.reply(stream)
  local code, host, port = stream:receive(socks.reply5)
  if not code then
    return nil, host:during "socks5 reply"
  elseif code ~= 0 then
    return nil, refusal(code)
  end
  return host, port
end

--- Send a request and wait for the reply.  @return host, port of the reply | nil, err
function M.request(stream, command, host, port)
  local message, err = socks.encode_request5(command, host, port)
  if not message then
    return nil, err
  end
  local ok
  ok, err = stream:write(message)
  if not ok then
    return nil, err:during "socks5 request"
  end
  return M.reply(stream)
end

--- The TLS context of a handler; made when it is first needed, since few clients ask for it.
-- @return context | nil, err
function M.server_context(self)
  if not self.tls_context then
    local registry = self.service and self.service.registry
    local context, err = require("tidegate.tls").server(self.tls, registry and registry.config.tls)
    if not context then
      return nil, err
    end
    self.tls_context = context
  end
  return self.tls_context
end

--- @return the stream inside TLS | nil, err
function M.accept_tls(self, stream, deadline)
  local context, err = M.server_context(self)
  if not context then
    return nil, err
  end
  require("tidegate.tls.reload").check(context)
  return require("tidegate.native.tls").server(stream, context, deadline)
end

local function server_name(self)
  local configured = self.tls and self.tls.serverName
  if configured and configured ~= "" then
    return configured
  end
  return self.node and self.node.addr and addr.host(self.node.addr)
end

--- @return the stream inside TLS | nil, err
function M.start_tls(self, stream, deadline)
  if not self.tls_context then
    local context, err = require("tidegate.tls").client(self.tls)
    if not context then
      return nil, err
    end
    self.tls_context = context
  end
  require("tidegate.tls.reload").check(self.tls_context)
  return require("tidegate.native.tls").client(stream, self.tls_context, server_name(self), deadline)
end

return M
