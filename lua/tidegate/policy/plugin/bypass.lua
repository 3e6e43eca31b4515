-- Bypasses that are plugins.

local BYPASS = {
  path = "/proto.Bypass/Bypass",
  verb = "POST",
  request = {
    { 1, "addr", "string" }, { 2, "client", "string" }, { 3, "network", "string" }, { 4, "host", "string" },
    { 5, "path", "string" }, { 6, "service", "string" },
  },
  reply = { { 1, "ok", "bool" } },
}

local NOTHING = {}

return function(_, client)
  local object = { whitelist = false }

  --- A plugin that fails keeps everything out.
  function object:contains(ctx, network, address, info) -- luacheck: ignore self
    info = info or NOTHING
    local reply = client:call(BYPASS, {
      service = ctx.service and ctx.service.name or "",
      network = network,
      addr = address,
      client = ctx.user or "",
      host = info.host ~= address and info.host or nil, -- what was asked for, where another address is dialed
      path = info.path,
    })
    return reply == nil or reply.ok
  end

  return object
end
