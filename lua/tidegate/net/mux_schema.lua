-- Metadata keys of components that run a mux session, and what they mean to tidegate.native.session.

local session = require "tidegate.native.session"

local M = {}

local KEYS = {
  ["mux.type"] = {
    type = "string",
    default = "smux",
    values = { "smux", "yamux" },
    doc = "protocol of the session; the same at both ends",
  },
  ["mux.version"] = { type = "int", default = 1, values = { 1, 2 }, doc = "of smux; the same at both ends" },
  ["mux.keepaliveInterval"] = { type = "duration", default = 10, doc = "between keep-alives" },
  ["mux.keepaliveDisabled"] = { type = "bool", default = false, doc = "send no keep-alives" },
  ["mux.keepaliveTimeout"] = {
    type = "duration",
    default = 30,
    doc = "silence after which the session is given up",
  },
  ["mux.maxFrameSize"] = { type = "int", default = 32768, doc = "payload of one frame" },
  ["mux.maxReceiveBuffer"] = {
    type = "int",
    doc = "bytes a session holds that nobody has read; without it 4194304, with yamux and smux version 2 33554432",
  },
  ["mux.maxStreamBuffer"] = {
    type = "int",
    default = 65536,
    doc = "window a stream of smux begins with (version 2)",
  },
  ["mux.maxStreamWindow"] = {
    type = "int",
    default = 262144,
    doc = "window a stream of yamux begins with, at least the default",
  },
}

-- Of transports.
local LISTENER = {
  ["mux.maxStreams"] = { type = "int", default = 8192, doc = "streams of one session; 0: no limit" },
}
local DIALER = {
  ["mux.maxStreams"] = {
    type = "int", default = 4096, doc = "streams of one session, then another is opened; 0: no limit",
  },
  ["mux.idleTimeout"] = {
    type = "duration", default = 300, doc = "a session without streams is closed after; 0: never",
  },
}

--- Add the keys to a metadata schema.
-- @param version of transports: the default of mux.version
-- @param client whether the transport dials
-- @return the schema
function M.with(schema, version, client)
  for key, spec in pairs(KEYS) do
    schema[key] = spec
  end
  if version then
    schema["mux.version"] = { type = "int", default = version, values = { 1, 2 }, doc = KEYS["mux.version"].doc }
    for key, spec in pairs(client and DIALER or LISTENER) do
      schema[key] = spec
    end
  end
  return schema
end

--- Begin a session over a stream, which is used up.
-- @param md parsed metadata
function M.start(stream, md, client)
  return session.smux(stream, M.options(md, client))
end

--- @param md parsed metadata
-- @return options for session.smux()
function M.options(md, client)
  return {
    client = client,
    version = md["mux.version"] == 2 and 2 or 1, -- of others it is warned
    keepalive = md["mux.keepaliveDisabled"] and 0 or md["mux.keepaliveInterval"],
    timeout = md["mux.keepaliveTimeout"],
    max_frame = md["mux.maxFrameSize"],
    max_receive = md["mux.maxReceiveBuffer"],
    max_stream = md["mux.type"] == "yamux" and md["mux.maxStreamWindow"] or md["mux.maxStreamBuffer"],
    yamux = md["mux.type"] == "yamux",
    max_streams = not client and md["mux.maxStreams"] or nil,
  }
end

return M
