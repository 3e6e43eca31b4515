-- Resolvers that are plugins.

local failure = require "tidegate.failure"
local lookup = require "tidegate.policy.plugin.lookup"

local RESOLVE = lookup.question "/proto.Resolver/Resolve"

return function(_, client)
  local object = {}

  --- Over gRPC `ok` does not count.  @return list of IPs | nil, err
  function object:resolve(ctx, network, host, deadline) -- luacheck: ignore self
    local reply, err = client:call(RESOLVE, { network = network, host = host, client = ctx and ctx.user or "" },
      deadline)
    if not reply then
      return nil, failure.new("resolve", nil, { op = "resolve", addr = host, cause = err })
    end
    local ips = (reply.ok or client.channel) and lookup.addresses(reply)
    if not ips then
      return nil, failure.new("resolve", "the plugin knows no address", { op = "resolve", addr = host })
    end
    return ips
  end

  return object
end
