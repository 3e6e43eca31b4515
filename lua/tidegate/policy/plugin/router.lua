-- Routers that are plugins.

local GET = {
  path = "/proto.Router/GetRoute",
  verb = "GET",
  request = { { 1, "dst", "string" }, { 2, "id", "string", omit = true } },
  reply = { { 1, "dst", "string", alias = "net" }, { 2, "gateway", "string" } },
}

return function(_, client)
  local object = {}

  --- @param id nil, or of the router that asks
  -- @return { dst, gateway } | nil: also when the plugin fails
  function object:get(_, dst, id) -- luacheck: ignore self
    local reply = client:call(GET, { dst = dst, id = id })
    return reply and reply.dst ~= "" and { dst = reply.dst, gateway = reply.gateway } or nil
  end

  return object
end
