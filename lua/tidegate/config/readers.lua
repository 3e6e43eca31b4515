-- Which part of a service or of a hop reads a key of metadata.  A parameter of a URL is given to all parts; in
-- a file it is where it is read.

local component = require "tidegate.component"
local keys = require "tidegate.config.keys"
local metadata = require "tidegate.metadata"

local M = {}

-- Parameters that become fields or objects; no metadata has them.
M.LIFTED = {}
for name in ("retries admission bypass resolver hosts climiter rlimiter prefer interface so_mark "
  .. "proxyProtocol netns netns.out dns limiter.in limiter.out limiter.conn.in limiter.conn.out"):gmatch("%S+") do
  M.LIFTED[name], M.LIFTED[name:lower()] = true, true
end

local OF_ALL = { service = keys.service, handler = keys.handler, hop = keys.hop, node = keys.node }

--- Whether a part reads a key.
-- @param side "service", "handler", "listener", "hop", "node", "connector" or "dialer"
-- @param kind its type, if it has one
function M.knows(side, kind, key)
  local item = kind and kind ~= "" and component.find(side, kind) or nil
  return OF_ALL[side] ~= nil and metadata.has_key(OF_ALL[side], key)
    or item ~= nil and metadata.has_key(item.metadata, key) or false
end

--- Whether what a part holds under a key is a copy of what another part reads.
-- @param kinds side → its type, or "" for parts without one: all that the parameter was given to
function M.is_copy(side, kinds, key)
  if M.knows(side, kinds[side], key) then
    return false
  end
  local elsewhere = M.LIFTED[key] or false
  for other, kind in pairs(kinds) do
    elsewhere = elsewhere or M.knows(other, kind, key)
  end
  return elsewhere
end

return M
