-- Observers; gost's are always plugins.

local failure = require "tidegate.failure"

local STATS = {
  { 1, "totalConns", "uint64" }, { 2, "currentConns", "uint64" }, { 3, "inputBytes", "uint64" },
  { 4, "outputBytes", "uint64" }, { 5, "totalErrs", "uint64" },
}

local STATUS = { { 1, "state", "string" }, { 2, "msg", "string" } }

local EVENT = {
  { 1, "kind", "string" },
  { 2, "service", "string" },
  { 3, "client", "string", omit = true },
  { 4, "type", "string" },
  { 5, "stats", "message", of = STATS, omit = true },
  { 6, "status", "message", of = STATUS, omit = true },
}

local OBSERVE = {
  path = "/proto.Observer/Observe",
  verb = "POST",
  request = { { 1, "events", "message", of = EVENT, repeated = true } },
  reply = { { 1, "ok", "bool" } },
}

return function(_, client)
  local object = {}

  --- @param events list of { kind, service, client, type = "stats" or "status", stats = {}, status = {} }
  -- @return true | nil, err
  function object:observe(events) -- luacheck: ignore self
    local reply, err = client:call(OBSERVE, { events = events })
    if not reply then
      return nil, err
    elseif not reply.ok then
      return nil, failure.new("refused", "the plugin did not take the events")
    end
    return true
  end

  return object
end
