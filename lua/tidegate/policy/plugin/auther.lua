-- Authers that are plugins.

local native_tls = require "tidegate.native.tls"

local AUTHENTICATE = {
  path = "/proto.Authenticator/Authenticate",
  verb = "POST",
  request = {
    { 1, "username", "string" },
    { 2, "password", "string" },
    { 3, "client", "string" },
    { 4, "service", "string" },
    { 5, "clientCn", "string", omit = true },
    { 6, "clientSan", "string", repeated = true, omit = true },
    { 7, "clientCertFingerprint", "string", omit = true },
  },
  reply = { { 1, "ok", "bool" }, { 2, "id", "string" } },
}

local NOBODY = {}

-- Whose certificate the client has shown.
local function peer_of(ctx)
  local ok, info = pcall(native_tls.info, rawget(ctx, "stream"))
  return ok and info or NOBODY
end

return function(_, client)
  local object = {}

  --- @return id | nil, err: also when the plugin fails
  function object:check(ctx, user, password) -- luacheck: ignore self
    local peer = peer_of(ctx)
    local reply, err = client:call(AUTHENTICATE, {
      username = user,
      password = password,
      client = ctx.client or "",
      service = ctx.service and ctx.service.name or "",
      clientCn = peer.peer_cn,
      clientSan = peer.peer_san,
      clientCertFingerprint = peer.peer_fingerprint,
    })
    if reply and reply.ok then
      return reply.id
    end
    return nil, err
  end

  return object
end
