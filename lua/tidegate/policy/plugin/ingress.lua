-- Ingresses that are plugins.

local GET = {
  path = "/proto.Ingress/GetRule",
  verb = "GET",
  request = { { 1, "host", "string" }, { 2, "service", "string" } },
  reply = { { 1, "endpoint", "string" } },
}

local SET = {
  path = "/proto.Ingress/SetRule",
  verb = "PUT",
  request = { { 1, "host", "string" }, { 2, "endpoint", "string" }, { 3, "service", "string" } },
  reply = { { 1, "ok", "bool" } },
}

local function service_of(ctx)
  return ctx and ctx.service and ctx.service.name or ""
end

return function(_, client)
  local object = {}

  --- @return endpoint | nil: also when the plugin fails
  function object:get(ctx, host) -- luacheck: ignore self
    local reply = client:call(GET, { host = host, service = service_of(ctx) })
    return reply and reply.endpoint ~= "" and reply.endpoint or nil
  end

  --- @return whether the plugin took the rule
  function object:set(ctx, host, endpoint) -- luacheck: ignore self
    local reply = client:call(SET, { host = host, endpoint = endpoint, service = service_of(ctx) })
    return reply ~= nil and reply.ok
  end

  return object
end
