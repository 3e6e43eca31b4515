-- What the dialers ssh and sshd share: metadata, the server's key, logins, and sessions used again.
--
-- The two work with different libraries, whose sessions look the same to this file.

local carrier = require "tidegate.net.ssh.carrier"
local failure = require "tidegate.failure"
local keys = require "tidegate.net.ssh.keys"
local sessions = require "tidegate.net.sessions"
local task = require "tidegate.native.task"

local M = {}

local ATTEMPTS = 3 -- sessions tried for one channel: an old one may turn out to be dead

--- The metadata keys of both.
function M.metadata()
  return {
    handshakeTimeout = { type = "duration", default = 0, doc = "limit on key exchange and login; 0: none" },
    privateKeyFile = { type = "string", doc = "key to log in with" },
    passphrase = { type = "string", doc = "of the private key" },
    knownHosts = {
      type = "string",
      doc = "file in OpenSSH's format that the server's key must be in; not set: every key is accepted",
    },
    keepalive = { type = "bool", default = false, doc = "probe the session, with the three settings below" },
    ttl = {
      type = "duration", aliases = { "keepalive.interval" }, default = 30, doc = "time between probes",
    },
    ["keepalive.timeout"] = { type = "duration", default = 15, doc = "limit on the answer" },
    ["keepalive.retries"] = { type = "int", default = 1, doc = "known to gost; one miss ends the session" },
    ["tcp.keepalive"] = { type = "bool", default = false, doc = "use the three settings below" },
    ["tcp.keepalive.idle"] = { type = "duration", default = 15, doc = "silence before the first TCP probe" },
    ["tcp.keepalive.interval"] = { type = "duration", default = 15, doc = "time between TCP probes" },
    ["tcp.keepalive.count"] = {
      type = "int", default = 9, doc = "unanswered TCP probes that end a connection",
    },
  }
end

--- Prepare an instance.
-- @param native { key(), client() of a library, layered = whether its sessions lie on any stream }
-- @return true | nil, err
function M.open(self, native)
  local md = self.md
  self.native = native
  if md.privateKeyFile and md.privateKeyFile ~= "" then
    local err
    self.key, err = keys.private(md.privateKeyFile, md.passphrase, native)
    if not self.key then
      return nil, err
    end
  end
  self.user = self.auth and self.auth.username or ""
  self.session_options = {
    user = self.user,
    host = self.node.host,
    port = self.node.port or 22,
    known_hosts = md.knownHosts and md.knownHosts ~= "" and keys.expand(md.knownHosts) or nil,
    keepalive = md.keepalive and math.max(md.ttl, 1) or 0,
    timeout = math.max(md["keepalive.timeout"], 1),
  }
  self.pool = sessions.new()
  return true
end

function M.close(self)
  if self.pool then
    self.pool:close()
  end
end

local VERDICTS = {
  changed = "differs from the one in %s: another server, or its key has been changed",
  other = "is of a kind that %s does not have for it",
  unknown = "is not in %s",
  missing = "is not in %s",
}

-- Is it the server it should be?
local function check_host(self, session)
  local file = self.session_options.known_hosts
  if not file then
    return true
  end
  local options = self.session_options
  local verdict, err = session:is_known(file, options.host, options.port)
  if not verdict then
    return nil, err
  elseif verdict == "ok" then
    return true
  end
  local kind, _, print = session:host_key()
  return nil, failure.new("auth", ("the server's key (%s %s) %s"):format(kind or "?", tostring(print),
    VERDICTS[verdict]:format(file)))
end

local function offered(session)
  local methods = session:methods()
  local names = {}
  if methods.public_key then
    names[#names + 1] = "public keys"
  end
  if methods.password then
    names[#names + 1] = "passwords"
  end
  if methods.interactive then
    names[#names + 1] = "keyboard-interactive"
  end
  return #names > 0 and table.concat(names, ", ") or "nothing we know"
end

local function refusal(self, session, tried)
  return failure.new("auth", ("the server refuses the login of %q by %s; it takes %s"):format(
    self.user, #tried > 0 and table.concat(tried, " and ") or "no secret", offered(session)))
end

-- The key first, then the password.
local function login(self, session, deadline)
  local tried = {}
  local function attempt(name, method, ...)
    tried[#tried + 1] = name
    return session[method](session, ...)
  end
  local password = self.auth and self.auth.password or ""
  local done, err = nil, nil
  if self.key then
    done, err = attempt("public key", "login_key", self.key, deadline)
  end
  if done == false and password ~= "" or not self.key and password ~= "" then
    done, err = attempt("password", "login_password", password, deadline)
  end
  if #tried == 0 then
    done, err = session:login_none(deadline)
  end
  if done then
    return true
  elseif done == nil then
    return nil, err
  end
  if #tried > 0 then
    session:login_none(deadline) -- tells what would do
  end
  return nil, refusal(self, session, tried)
end

-- A session ready for channels.
local function connect(self, ctx, node, via, deadline)
  local stream, err = node:carrier(ctx, via, deadline)
  local names
  if stream and not self.native.layered then
    stream, names = carrier.plain(stream)
    err = names
  end
  if not stream then
    return nil, err
  end
  local own = ctx:after(self.md.handshakeTimeout)
  if own and (not deadline or own < deadline) then
    deadline = own
  end
  local session
  session, err = self.native.client(stream, self.session_options)
  if not session then
    return nil, err
  end
  if names then
    session:set_names(names[1], names[2])
  end
  local ok, reason
  ok, err, reason = session:ready(deadline)
  if not ok and reason and reason ~= "" then
    err = failure.new(err.code, "SSH with the server: " .. reason)
  end
  if ok then
    ok, err = check_host(self, session)
  end
  if ok then
    ok, err = login(self, session, deadline)
  end
  if not ok then
    session:close()
    return nil, err
  end
  return session
end

--- A session to the node.
-- @param via what ctx.via was when the dialer was asked to dial
-- @return session, whether it was used before | nil, err
function M.session(self, ctx, node, via, deadline)
  return self.pool:take(function()
    return connect(self, ctx, node, via, deadline)
  end, deadline)
end

--- A session of its own, which the caller closes.
function M.own_session(self, ctx, node, via, deadline)
  return connect(self, ctx, node, via, deadline)
end

--- Open a channel over a session to the node.  A session that was used before and has broken is
-- replaced without a word.
-- @param open function: session → stream | nil, err
-- @return stream | nil, err
function M.channel(self, ctx, node, via, deadline, open)
  local stream, err
  for _ = 1, ATTEMPTS do
    local session, used = M.session(self, ctx, node, via, deadline)
    if not session then
      return nil, used
    end
    local asked_at = task.now()
    stream, err = open(session)
    if stream then
      return stream
    elseif err.code == "timeout" and session:silence() >= task.now() - asked_at then
      self.pool:forget(session) -- nothing comes over it any more
      break
    elseif session:is_alive() or not used then
      break
    end
  end
  return nil, err
end

return M
