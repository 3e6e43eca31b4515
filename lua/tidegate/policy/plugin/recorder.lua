-- Recorders that are plugins.

local failure = require "tidegate.failure"
local json = require "tidegate.policy.plugin.json"

local RECORD = {
  path = "/proto.Recorder/Record",
  verb = "POST",
  request = { { 1, "data", "bytes" }, { 2, "metadata", "bytes" } },
  reply = { { 1, "ok", "bool" } },
}

return function(_, client)
  local object = {}

  --- Waits for the plugin; queues are the caller's.
  -- @param meta nil or a plain table
  -- @return true | nil, err
  function object:record(data, meta) -- luacheck: ignore self
    local text, why = json.any(meta)
    if not text then
      return nil, why
    end
    local reply, err = client:call(RECORD, { data = data, metadata = text })
    if not reply then
      return nil, err
    elseif not reply.ok then
      return nil, failure.new("denied", "the plugin did not take the record")
    end
    return true
  end

  return object
end
