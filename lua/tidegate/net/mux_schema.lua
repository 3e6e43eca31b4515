-- Metadata keys of components that run a mux session, and what they mean to tidegate.native.session.

local session = require "tidegate.native.session"

local M = {}

local KEYS = {
  ["mux.type"] = {
    type = "string",
    default = "smux",
    values = { "smux" },
    doc = "protocol of the session",
  },
  ["mux.version"] = { type = "int", default = 1, doc = "smux version: 1 or 2" },
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
    default = 4194304,
    doc = "bytes a session holds that nobody has read",
  },
  ["mux.maxStreamBuffer"] = {
    type = "int",
    default = 65536,
    doc = "bytes a stream holds that nobody has read (version 2)",
  },
}

-- Of dialers that keep sessions.
local REUSE = {
  ["mux.maxStreams"] = { type = "int", default = 0, doc = "streams of one session; 0: as many as come" },
  ["mux.idleTimeout"] = {
    type = "duration", default = 300, doc = "a session without streams is closed after; 0: never",
  },
}

--- Add the keys to a metadata schema.
-- @param version nil or the default of mux.version
-- @return the schema
function M.with(schema, version)
  for key, spec in pairs(KEYS) do
    schema[key] = spec
  end
  if version then
    schema["mux.version"] = { type = "int", default = version, doc = KEYS["mux.version"].doc }
    for key, spec in pairs(REUSE) do
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
    version = md["mux.version"],
    keepalive = md["mux.keepaliveDisabled"] and 0 or md["mux.keepaliveInterval"],
    timeout = md["mux.keepaliveTimeout"],
    max_frame = md["mux.maxFrameSize"],
    max_receive = md["mux.maxReceiveBuffer"],
    max_stream = md["mux.maxStreamBuffer"],
  }
end

return M
