-- What the dialers ssh and sshd share: metadata, the server's key, and sessions used again.
--
-- There are two libraries, whose sessions look the same to this file: libssh's lie on plain streams only,
-- libssh2's on any.

local blame = require "tidegate.net.ssh.blame"
local carrier = require "tidegate.net.ssh.carrier"
local keepalive = require "tidegate.net.keepalive"
local keys = require "tidegate.net.ssh.keys"
local known = require "tidegate.net.ssh.known"
local login = require "tidegate.net.ssh.login"
local native = require "tidegate.native.ssh"
local sessions = require "tidegate.net.sessions"
local task = require "tidegate.native.task"

local M = {}

local ATTEMPTS = 3 -- sessions tried for one channel: an old one may turn out to be dead

--- The metadata keys of both.
-- @param agent what `agent` is when it is not set
function M.metadata(agent)
  return keepalive.with({
    handshakeTimeout = { type = "duration", default = 0, doc = "limit on key exchange and login; 0: none" },
    privateKeyFile = { type = "string", doc = "key to log in with" },
    passphrase = { type = "string", doc = "of the private key" },
    passphraseFromKeyring = { type = "bool", default = false, doc = "ask the keyring for the passphrase" },
    certificateFile = {
      type = "string", doc = "certificate to the key; when not set, the key's name with `-cert.pub`, if it is there",
    },
    agent = {
      type = "string",
      default = agent,
      doc = "socket of an agent whose keys are tried; `SSH_AUTH_SOCK`: the one that variable names; `none`",
    },
    knownHosts = {
      type = "string",
      doc = "file in OpenSSH's format that the server's key must be in; not set: every key is accepted",
    },
    keepalive = { type = "bool", default = false, doc = "probe the session, with the three settings below" },
    ttl = {
      type = "duration", aliases = { "keepalive.interval" }, default = 30, doc = "time between probes",
    },
    ["keepalive.timeout"] = { type = "duration", default = 15, doc = "limit on the answer" },
    ["keepalive.retries"] = { type = "int", default = 1, doc = "probes in a row without an answer that end it" },
  }, "tcp.")
end

local function expanded(path)
  return path and path ~= "" and keys.expand(path) or nil
end

--- Prepare an instance.
-- @return true | nil, err
function M.open(self)
  local md = self.md
  self.user = self.auth and self.auth.username or ""
  local err
  self.login, err = login.new(md, self.auth)
  if not self.login then
    return nil, err
  end
  self.known_hosts = expanded(md.knownHosts)
  self.session_options = {
    user = self.user,
    keepalive = md.keepalive and math.max(md.ttl, 1) or 0,
    timeout = math.max(md["keepalive.timeout"], 1),
    retries = math.max(md["keepalive.retries"], 1),
  }
  self.pool = sessions.new()
  return true
end

function M.close(self)
  if self.pool then
    self.pool:close()
  end
end

-- The session's library, and what it is to know of the server.
local function start(self, library, stream, hosts)
  local names
  if library == native then
    stream, names = carrier.plain(stream)
    if not stream then
      return nil, names
    end
  end
  local options = self.session_options
  options.host_keys = hosts and hosts:kinds()
  local session, err = library.client(stream, options)
  if session and names then
    session:set_names(names[1], names[2])
  end
  return session, err
end

-- Exchange keys, look at the server's, log in.
local function greet(self, session, hosts, deadline)
  local ok, err, reason = session:ready(deadline)
  if not ok then
    return nil, blame("server", err, reason)
  end
  if hosts then
    local kind, key, print = session:host_key()
    if not kind then
      return nil, key
    end
    ok, err = hosts:check(kind, key, print)
    if not ok then
      return nil, err
    end
  end
  ok, err = self.login:attempt(session, self.user, deadline)
  return ok, err and err.code == "timeout" and err:during "login" or err
end

-- A session ready for channels.
local function connect(self, ctx, node, via, deadline)
  local hosts, stream, err
  if self.known_hosts then
    hosts, err = known.look(self.known_hosts, self.node.host, self.node.port or 22)
    if not hosts then
      return nil, err
    end
  end
  stream, err = node:carrier(ctx, via, deadline)
  if not stream then
    return nil, err
  end
  local own = ctx:after(self.md.handshakeTimeout)
  if own and (not deadline or own < deadline) then
    deadline = own
  end
  local session, library = nil, native
  if self.choose then
    library, err = self.choose(stream, deadline)
    if not library then
      stream:close()
      return nil, err
    end
  end
  session, err = start(self, library, stream, hosts)
  if not session then
    return nil, err
  end
  local ok
  ok, err = greet(self, session, hosts, deadline)
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
