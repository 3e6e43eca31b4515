-- The policies that hops and nodes name.

local M = {}

--- @return a name, or nil when it names nothing
function M.name(text)
  return text ~= "" and text or nil
end

local function names_any(config)
  return M.name(config.bypass) or config.bypasses and #config.bypasses > 0
end

--- The bypass of a hop or node: `bypass` and `bypasses` together.
-- @return object with contains(ctx, network, address, info), or nil for none | nil, err
function M.bypass(config, registry)
  if not registry or not names_any(config) then
    return nil
  end
  local kind = require("tidegate.policy.kinds").by_word "bypass"
  if not kind then
    return nil
  end
  return kind.of(config, registry)
end

return M
