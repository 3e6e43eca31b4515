-- The metadata keys of TCP's keepalive, which every listener and dialer over TCP has.

local M = {}

--- Add them to a metadata schema.
-- @param prefix as gost has it: "tcp." where "keepalive" is something else's, nil elsewhere
-- @return the schema
function M.with(schema, prefix)
  local name = (prefix or "") .. "keepalive"
  schema[name] = { type = "bool", default = false, doc = "probe silent connections, with the three settings below" }
  schema[name .. ".idle"] = { type = "duration", default = 15, doc = "silence before the first TCP probe" }
  schema[name .. ".interval"] = { type = "duration", default = 15, doc = "time between TCP probes" }
  schema[name .. ".count"] = { type = "int", default = 9, doc = "unanswered TCP probes that end a connection" }
  return schema
end

return M
