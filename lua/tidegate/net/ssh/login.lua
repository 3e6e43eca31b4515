-- Logging in at a server: with a key, a password, the keys of an agent.

local agents = require "tidegate.net.ssh.agent"
local failure = require "tidegate.failure"
local keys = require "tidegate.net.ssh.keys"
local ssh2 = require "tidegate.native.ssh2"

local M = {}
local methods = {}
local mt = { __name = "tidegate.ssh.login", __index = methods }

local ENVIRONMENT = "SSH_AUTH_SOCK"

local function agent_of(name)
  if not name or name == "" or name == "none" then
    return nil
  end
  local path = name == ENVIRONMENT and os.getenv(ENVIRONMENT) or name
  if path == ENVIRONMENT or path == "" then
    return nil
  end
  path = keys.expand(path)
  return { path = path, label = name == ENVIRONMENT and ("%s (%s)"):format(path, ENVIRONMENT) or path }
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

local function certified(self, md, passphrase)
  local path = md.certificateFile
  local named = path and path ~= ""
  path = keys.expand(named and path or md.privateKeyFile .. "-cert.pub")
  if not named and not exists(path) then
    return true
  end
  local key = assert(keys.private(md.privateKeyFile, passphrase))
  local ok, err = key:certify(path)
  if not ok then
    return nil, failure.new("config", ("%s: %s for the key %s"):format(path, err.message, md.privateKeyFile),
      { op = "ssh" })
  end
  self.certified = key
  return true
end

--- What there is to log in with.
-- @param auth nil or { username, password }
-- @return object | nil, err
function M.new(md, auth)
  local self = setmetatable({ password = auth and auth.password or "", agent = agent_of(md.agent) }, mt)
  if not md.privateKeyFile or md.privateKeyFile == "" then
    return self
  end
  local passphrase, err = keys.passphrase(md, auth and auth.username or "")
  if err then
    return nil, err
  end
  local text
  self.key, text = keys.private(md.privateKeyFile, passphrase)
  if not self.key then
    return nil, text
  end
  self.file = { text = text, passphrase = passphrase } -- as libssh2 takes it
  local ok
  ok, err = certified(self, md, passphrase)
  return ok and self, err
end

local function offered(session)
  local takes = session:methods()
  local names = {}
  if takes.public_key then
    names[#names + 1] = "public keys"
  end
  if takes.password then
    names[#names + 1] = "passwords"
  end
  if takes.interactive then
    names[#names + 1] = "keyboard-interactive"
  end
  return #names > 0 and table.concat(names, ", ") or "nothing we know"
end

local function refusal(self, session, user, tried)
  local text = ("the server refuses the login of %q by %s; it takes %s"):format(user,
    #tried > 0 and table.concat(tried, " and ") or "no secret", offered(session))
  if self.key and not session.listen and self.key:public() == "ssh-rsa" and not ssh2.signs_rsa() then
    text = text .. "; libssh2 before 1.11 signs with RSA keys only by SHA-1, which servers refuse: use another kind"
  end
  return failure.new("auth", text)
end

-- What is tried, one after the other.  @return list of { name, method, secret }
local function ways(self, session)
  local list = {}
  local function add(secret, name, method)
    if secret and secret ~= "" then
      list[#list + 1] = { name, method, secret }
    end
  end
  local libssh2 = not session.listen
  if not libssh2 then
    add(self.certified, "certificate", "login_key")
  end
  add(libssh2 and self.file or self.key, "public key", "login_key")
  add(self.password, "password", "login_password")
  add(self.agent, "the agent's keys", "login_agent")
  return list
end

-- Which signatures by RSA keys a server takes it says when its end of the key exchange is over, which may be later than
-- libssh, without a question of ours, makes up its mind.
local function hear_signatures(session, way, deadline)
  if way[2] == "login_key" and session.listen and (way[3]:public() or ""):find "rsa" then
    return session:login_none(deadline)
  end
  return false
end

-- A password may also be the answer to a question.
local function try(session, way, tried, deadline)
  local heard, why = hear_signatures(session, way, deadline)
  if heard or heard == nil then
    return heard, why
  end
  tried[#tried + 1] = way[1]
  if way[2] == "login_agent" then
    return agents.login(session, way[3], deadline)
  end
  local done, err = session[way[2]](session, way[3], deadline)
  if done == false and way[2] == "login_password" and session:methods().interactive then
    done, err = session:login_interactive(way[3], deadline)
  end
  return done, err
end

-- The agent came last, and failed: what the server said to the rest is worth telling too.
local function after_refusals(self, session, user, tried, err)
  tried[#tried] = nil
  if #tried == 0 then
    return err
  end
  return failure.new(err.code, ("%s; and %s"):format(refusal(self, session, user, tried).message, err.message))
end

--- Log in.  @return true | nil, err
function methods:attempt(session, user, deadline)
  local tried, done, err = {}, false, nil
  for _, way in ipairs(ways(self, session)) do
    done, err = try(session, way, tried, deadline)
    if done == nil and way[2] == "login_agent" and session:is_alive() then
      return nil, after_refusals(self, session, user, tried, err)
    elseif done or done == nil then
      break
    end
  end
  if not done and (done == nil or #tried > 0) then
    if done == false then
      session:login_none(deadline) -- tells what would do
      err = refusal(self, session, user, tried)
    end
    return nil, err
  elseif #tried == 0 then
    done, err = session:login_none(deadline)
    if not done then
      return nil, done == nil and err or refusal(self, session, user, tried)
    end
  end
  return true
end

return M
