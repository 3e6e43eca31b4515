-- Host mappings that are plugins.

local lookup = require "tidegate.policy.plugin.lookup"

local LOOKUP = lookup.question "/proto.HostMapper/Lookup"

return function(_, client)
  local object = {}

  --- A plugin that fails knows nothing.  @return list of IPs | nil
  function object:lookup(ctx, network, host) -- luacheck: ignore self
    local reply = client:call(LOOKUP, { network = network, host = host, client = ctx and ctx.user or "" })
    return reply and reply.ok and lookup.addresses(reply) or nil
  end

  return object
end
