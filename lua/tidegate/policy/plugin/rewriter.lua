-- Rewriters; gost's are always plugins.

local json = require "tidegate.policy.plugin.json"

local REWRITE = {
  path = "/proto.Rewriter/Rewrite",
  verb = "POST",
  request = { { 1, "data", "bytes" }, { 2, "metadata", "bytes" } },
  reply = { { 1, "ok", "bool" }, { 2, "data", "bytes" } },
}

return function(_, client)
  local object = {}

  --- @param meta nil or a plain table
  -- @return the data to go on with; as it was, when the plugin declines | nil, err
  function object:rewrite(data, meta) -- luacheck: ignore self
    local text, why = json.any(meta)
    if not text then
      return nil, why
    end
    local reply, err = client:call(REWRITE, { data = data, metadata = text })
    if not reply then
      if err.status then
        return data
      end
      return nil, err
    end
    return reply.ok and reply.data ~= "" and reply.data or data
  end

  return object
end
