-- Hops whose nodes a plugin chooses.

local SELECT = {
  path = "/proto.Hop/Select",
  verb = "POST",
  request = {
    { 1, "network", "string" }, { 2, "addr", "string" }, { 3, "host", "string" }, { 4, "client", "string" },
    { 5, "path", "string" }, { 6, "src", "string" },
  },
  reply = { { 1, "node", "bytes" } },
  text = "node",
}

local NOTHING = {}

return function(_, client)
  local object = {}

  --- @param request nil or { host, path } of what is asked for
  -- @return the JSON text of a node | nil: also when the plugin fails
  function object:select(ctx, network, address, request) -- luacheck: ignore self
    request = request or NOTHING
    local reply = client:call(SELECT, {
      network = network,
      addr = address,
      host = request.host,
      path = request.path,
      client = ctx and ctx.user or "",
      src = ctx and ctx.client or "",
    })
    return reply and reply.node ~= "" and reply.node or nil
  end

  return object
end
