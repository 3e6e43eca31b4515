-- Rewriters: plugins and scripts that change the bodies of requests and responses.
--
-- A rewriter has `rewrite(self, data, meta)` → data | nil, err.  `data` are bytes; `meta` is a table: sid,
-- direction ("request" or "response"), uri, and for events of an event stream sse_phase, event_index …

local failure = require "tidegate.failure"
local guard = require "tidegate.script.guard"

local M = {}

M.kind = "rewriter"
M.list = "rewriters"
M.main = "rewrite"

local same_mt = { __name = "tidegate.rewriter.none", __index = {
  rewrite = function(_, data)
    return data
  end,
  close = function() end,
} }

--- A rewriter of the configuration; without a plugin it changes nothing.
function M.new()
  return setmetatable({}, same_mt)
end

--- A script that raises ends the exchange: what it was to take out must not get through.
function M.on_error()
  return nil, failure.new("io", "the rewriter failed")
end

M.answer = guard.wants("string", "a body")

--- The rewriter of a name, late bound: a name that leads nowhere changes nothing.
-- @return an object with rewrite(), or nil when no name is given
function M.of(name, registry)
  if not name or name == "" then
    return nil
  end
  return registry.rewriters[name] or M.new()
end

--- Call a rewriter.
-- @return data: unchanged when it gives none | nil, err: it failed, which ends the exchange
function M.apply(object, data, meta)
  local changed, err = object:rewrite(data, meta)
  if changed == nil and err ~= nil then
    return nil, failure.wrap(err)
  end
  return type(changed) == "string" and changed or data
end

return M
