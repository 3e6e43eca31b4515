-- Metadata keys of components that run a mux session, and what they mean to tidegate.native.session.

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

--- Add the keys to a metadata schema.  @return the schema
function M.with(schema)
  for key, spec in pairs(KEYS) do
    schema[key] = spec
  end
  return schema
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
