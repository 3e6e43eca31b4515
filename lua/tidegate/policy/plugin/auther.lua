-- Authers that are plugins.

local lockout = require "tidegate.policy.auth.lockout"
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

return function(config, client, env)
  local object = {}
  local guard = lockout.new(config.lockout, config.name, env.log)

  --- @return id | nil: no | nil, err: the plugin fails, or the user is locked out
  function object:check(ctx, user, password) -- luacheck: ignore self
    local ok, err = true, nil
    if guard then
      ok, err = guard:admits(ctx, user)
    end
    if not ok then
      return nil, err
    end
    local peer, reply = peer_of(ctx), nil
    reply, err = client:call(AUTHENTICATE, {
      username = user,
      password = password,
      client = ctx.client or "",
      service = ctx.service and ctx.service.name or "",
      clientCn = peer.peer_cn,
      clientSan = peer.peer_san,
      clientCertFingerprint = peer.peer_fingerprint,
    })
    if not reply or not reply.ok then
      return nil, err
    elseif guard then
      guard:passed(ctx, user)
    end
    return reply.id
  end

  --- Note that the user was refused.
  function object:failed(ctx, user) -- luacheck: ignore self
    if guard then
      guard:failed(ctx, user)
    end
  end

  return object
end
