-- Admissions that are plugins.

local ADMIT = {
  path = "/proto.Admission/Admit",
  verb = "POST",
  request = { { 1, "addr", "string" }, { 2, "service", "string" }, { 3, "network", "string" } },
  reply = { { 1, "ok", "bool" } },
}

return function(_, client)
  local object = {}

  --- A plugin that fails admits nobody.
  function object:admits(ctx, network, address) -- luacheck: ignore self
    local reply = client:call(ADMIT, {
      service = ctx.service and ctx.service.name or "", network = network, addr = address,
    })
    return reply ~= nil and reply.ok
  end

  return object
end
