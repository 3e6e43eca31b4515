-- Traffic limiters that are plugins.

local LIMIT = {
  path = "/proto.Limiter/Limit",
  verb = "POST",
  request = {
    { 1, "network", "string" }, { 2, "addr", "string" }, { 3, "client", "string" }, { 4, "src", "string" },
    { 5, "service", "string" }, { 6, "scope", "string" },
  },
  reply = { { 1, "in", "int64" }, { 2, "out", "int64" } },
}

local MOST = 2 ^ 53

local function rate(value)
  return math.min(math.max(value, 0), MOST)
end

return function(_, client)
  local object = {}

  --- @param subject whose traffic: fields service, network, target, client, user
  -- @param scope "service", "conn" or "client"
  -- @return bytes per second in, out; 0: no limit | nothing when the plugin fails: what was known holds
  function object:limit(subject, scope) -- luacheck: ignore self
    local whole = scope == "service" -- no matter which client was the first
    local reply = client:call(LIMIT, {
      network = subject.network,
      addr = not whole and subject.target or nil,
      client = not whole and subject.user or nil,
      src = not whole and subject.client or nil,
      service = subject.service and subject.service.name,
      scope = scope,
    })
    if reply then
      return rate(reply["in"]), rate(reply.out)
    end
  end

  return object
end
