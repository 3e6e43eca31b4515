-- What the listeners ssh and sshd share: keys, logins, and the session they end in.

local addr = require "tidegate.net.addr"
local address = require "tidegate.native.address"
local auth = require "tidegate.policy.auth"
local authorized = require "tidegate.net.ssh.authorized"
local bind = require "tidegate.net.ssh.bind"
local blame = require "tidegate.net.ssh.blame"
local carrier = require "tidegate.net.ssh.carrier"
local failure = require "tidegate.failure"
local keepalive = require "tidegate.net.keepalive"
local keys = require "tidegate.net.ssh.keys"
local metering = require "tidegate.process.metering"
local native = require "tidegate.native.ssh"

local M = {}

local ATTEMPTS = 6 -- logins that may fail on one connection

--- The metadata keys of both.
function M.metadata()
  return keepalive.with {
    authorizedKeys = {
      type = "string", doc = "file of public keys that may log in; `%u` in it stands for the user's name",
    },
    privateKeyFile = { type = "string", doc = "host key; the certificate's key when not set" },
    passphrase = { type = "string", doc = "of the private key" },
    passphraseFromKeyring = { type = "bool", default = false, doc = "ask the keyring for the passphrase" },
    handshakeTimeout = { type = "duration", default = 30, doc = "limit on key exchange and login together" },
    maxStreams = { type = "int", default = 1024, doc = "most channels of one connection" },
    backlog = { type = "int", default = 4096, doc = "connections the kernel keeps until accepted" },
    mptcp = { type = "bool", default = false, doc = "accept multipath TCP" },
    reuseport = { type = "bool", default = false, doc = "share the port with other processes" },
  }
end

--- The key of the listener sshd: where clients may have it listen.
M.BIND = {
  type = "list",
  split = ",",
  doc = "where clients may listen (`-R`): `any`, `none`, `localhost`, addresses or networks, each with `:port` or "
    .. "`:from-to`; not set: any address and ports from 1024 on for who has logged in, nothing where nobody has to",
}

-- Names that may stand in a path.
local function is_plain_name(user)
  return user ~= "" and user ~= "." and user ~= ".." and not user:find "[/%z]"
end

-- The keys of a user.  @return base64 → entry
local function keys_of(self, ctx, user)
  if self.authorized then
    return self.authorized
  elseif not is_plain_name(user) then
    return {}
  end
  local path = self.md.authorizedKeys:gsub("%%u", (user:gsub("%%", "%%%%")))
  local found, err = authorized.load(path)
  if not found then
    ctx.log:warn(tostring(err))
  end
  return found or {}
end

--- @param tunnel whether channels are gost's own
-- @return the function `open` of a listener
function M.open(tunnel)
  return function(self)
    local service = self.service
    local root = service and service.registry and service.registry.config.tls
    local key, err = keys.of_host(self.md, self.tls, root)
    if not key then
      return nil, err
    end
    self.host, err = native.host(key, tunnel)
    if not self.host then
      return nil, err
    end
    local file = self.md.authorizedKeys
    self.keyed = file ~= nil and file ~= ""
    if self.keyed and not file:find("%u", 1, true) then
      self.authorized, err = authorized.load(file)
      if not self.authorized then
        return nil, err
      end
    end
    self.auther = service and service.listener_auther
    self.session_options = {
      tunnel = tunnel,
      password = self.auther ~= nil,
      public_key = self.keyed,
      max_streams = math.max(self.md.maxStreams, 1),
    }
    self.bind, err = bind.new(self.md.bind, self.auther ~= nil or self.keyed)
    return self.bind ~= nil, err
  end
end

local function judge_key(self, ctx, kind, user, secret)
  local entry = keys_of(self, ctx, user)[secret]
  local ok, why = false, "the public key is not among the authorized ones"
  if entry then
    ok, why = authorized.permits(entry, addr.host(ctx.client))
  end
  if ok and kind == "key" then
    ctx.user, ctx.login = user, entry
  end
  return ok, not ok, why and failure.new("auth", why)
end

-- @return whether this login is good, whether it is a failed attempt, why
local function judge(self, ctx, kind, user, secret)
  if kind == "none" then
    return not self.auther and not self.keyed, false
  elseif kind == "password" and self.auther then
    local id, err = auth.check(self.auther, ctx, user, secret)
    if id then
      ctx.user = id
      return true
    end
    return false, true, err
  elseif self.keyed and (kind == "key" or kind == "offer") then
    return judge_key(self, ctx, kind, user, secret)
  end
  return false, true
end

local function login(self, ctx, session, deadline)
  local failures, reason = 0, nil
  while true do
    local kind, user, secret = session:request(deadline)
    if not kind then
      local err = user
      if reason and (err.code == "eof" or err.code == "reset") then
        return nil, reason
      end
      return nil, err:during "login"
    end
    local good, failed, why = judge(self, ctx, kind, user, secret)
    session:answer(good)
    if good and kind ~= "offer" then
      return true
    elseif failed then
      failures = failures + 1
      reason = failure.new("auth", ("login of %q by %s: %s"):format(user,
        kind == "password" and "password" or "public key", why and why.message or "refused"))
      if failures >= ATTEMPTS then
        return nil, reason
      end
    end
  end
end

--- The function `accept` of both: key exchange and login.
-- @return session | nil, err
function M.accept(self, ctx, stream)
  ctx.remote = stream:remote_address() or "@"
  ctx.local_address = stream:local_address() or "@"
  local deadline = ctx:after(self.md.handshakeTimeout)
  local below, names = carrier.plain(stream)
  if not below then
    return nil, names
  end
  local session, err = native.server(below, self.host, self.session_options)
  if not session then
    return nil, err
  elseif names then
    session:set_names(names[1], names[2])
  end
  local ok, reason
  ok, err, reason = session:ready(deadline)
  if ok then
    ok, err = login(self, ctx, session, deadline)
  else
    err = blame("client", err, reason)
  end
  if not ok then
    session:close()
    return nil, err
  end
  return session
end

--- What each channel's context is to know of the login, and whether the key lets it through.
function M.accept_stream(_, ctx, stream)
  ctx.user = ctx.carrier.user
  if ctx.user then
    metering.authenticated(ctx)
  end
  local entry = ctx.carrier.login
  local host, port = native.target(stream)
  if entry and host and not authorized.may_open(entry, host, port) then
    return nil, failure.new("blocked", "the key's options do not permit it", { addr = address.join(host, port) })
  end
  return stream
end

return M
