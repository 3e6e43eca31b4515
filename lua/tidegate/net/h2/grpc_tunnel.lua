-- gost's tunnel over gRPC: one streaming call per connection.

local dial = require "tidegate.net.h2.dial"
local failure = require "tidegate.failure"
local h2 = require "tidegate.native.h2"
local listen = require "tidegate.net.h2.listen"

local M = {}

local UNIMPLEMENTED = "12"

--- Keys of both ends.
function M.with(schema)
  schema["grpc.insecure"] = {
    type = "bool",
    default = false,
    aliases = { "grpcInsecure", "insecure" },
    doc = "no TLS",
  }
  schema["grpc.path"] = {
    type = "string",
    default = "",
    aliases = { "path" },
    doc = "`service/method`, or a service alone; empty: GostTunel/Tunnel",
  }
  schema["grpc.keepalive"] = {
    type = "bool",
    default = false,
    aliases = { "keepalive" },
    doc = "send pings while nothing comes",
  }
  schema["grpc.keepalive.timeout"] = {
    type = "duration",
    default = 30,
    aliases = { "keepalive.timeout" },
    doc = "wait for the answer to a ping",
  }
  schema["grpc.keepalive.permitWithoutStream"] = {
    type = "bool",
    default = false,
    aliases = { "keepalive.permitWithoutStream" },
    doc = "ping also while there are no streams",
  }
  return schema
end

--- Options of a session from the keys.
function M.session_options(md)
  if not md["grpc.keepalive"] then
    return {}
  end
  local function positive(value, otherwise)
    return value and value > 0 and value or otherwise
  end
  return {
    keepalive = positive(md["grpc.keepalive.time"], 30),
    timeout = positive(md["grpc.keepalive.timeout"], 30),
    ping_idle = md["grpc.keepalive.permitWithoutStream"],
  }
end

--- The path of a request, from what the configuration says of it, as gost makes it.
function M.path(text)
  local parts = {}
  for part in text:match("^/*(.-)/*$"):gmatch "[^/]+" do
    parts[#parts + 1] = part
  end
  if #parts == 0 then
    return "/GostTunel/Tunnel"
  elseif #parts == 1 then
    return "/" .. parts[1] .. "/Tunnel"
  end
  return "/" .. parts[1] .. "/" .. table.concat(parts, "-", 2)
end

-- A response that is nothing but trailers.
local function refuse(stream, message)
  h2.respond(stream, {
    ":status", "200", "content-type", "application/grpc", "grpc-status", UNIMPLEMENTED,
    "grpc-message", message,
  }, true)
  stream:close()
  return nil, failure.new("protocol", message, { layer = "grpc", op = "request" })
end

--- What a listener does with each stream.  @return the byte stream | nil, err
function M.accept_stream(self, ctx, stream)
  local headers, err = h2.headers(stream)
  if not headers then
    return nil, err
  elseif not (headers["content-type"] or ""):find "^application/grpc" then
    return listen.refuse(stream, 415, "this is no gRPC")
  elseif headers[":path"] ~= self.path then
    return refuse(stream, ("unknown method %s"):format(headers[":path"] or "-"))
  end
  listen.name_client(ctx, headers)
  local ok
  ok, err = h2.respond(stream, { ":status", "200", "content-type", "application/grpc" })
  if not ok then
    return nil, err
  end
  return h2.grpc(stream, false)
end

--- The header of a dialer's requests.
function M.request_fields(self)
  local md, node = self.md, self.node
  return {
    ":method", "POST",
    ":scheme", md["grpc.insecure"] and "http" or "https",
    ":path", M.path(md["grpc.path"]),
    ":authority", md["grpc.authority"] ~= "" and md["grpc.authority"] or node.host,
    "content-type", "application/grpc",
    "user-agent", "grpc-go/1.67.1",
    "te", "trailers",
  }
end

--- What a dialer does: the server's answer is not waited for.  @return stream | nil, err
function M.dial(self, ctx, node, deadline)
  local stream, err = dial.stream(self, ctx, node, deadline, self.fields)
  if not stream then
    return nil, err
  end
  return h2.grpc(stream, true)
end

return M
