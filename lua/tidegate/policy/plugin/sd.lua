-- Service discovery by plugins.

local SERVICE = {
  { 1, "id", "string" }, { 2, "name", "string" }, { 3, "node", "string" }, { 4, "network", "string" },
  { 5, "address", "string" },
}

local function change(path, verb)
  return {
    path = path,
    verb = verb,
    request = { { 1, "service", "message", of = SERVICE } },
    reply = { { 1, "ok", "bool" } },
    flat = "service",
  }
end

local QUESTIONS = {
  register = change("/proto.SD/Register", "POST"),
  deregister = change("/proto.SD/Deregister", "DELETE"),
  renew = change("/proto.SD/Renew", "PUT"),
}

local GET = {
  path = "/proto.SD/Get",
  verb = "GET",
  request = { { 1, "name", "string" } },
  reply = { { 1, "services", "message", of = SERVICE, repeated = true } },
}

return function(_, client)
  local object = {}

  --- register, deregister and renew(ctx, { id, name, node, network, address }) → true | nil, err.  What the
  -- plugin answers does not count.
  for name, question in pairs(QUESTIONS) do
    object[name] = function(_, _, record)
      local reply, err = client:call(question, { service = record })
      return reply and true or nil, err
    end
  end

  --- @return list of records | nil, err
  function object:get(_, name) -- luacheck: ignore self
    local reply, err = client:call(GET, { name = name })
    if not reply then
      return nil, err
    end
    return reply.services
  end

  return object
end
