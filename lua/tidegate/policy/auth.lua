-- Who may use a service: tables of user names and passwords, groups of them, plugins and scripts.
--
-- An auther is a table with `check(self, ctx, user, password)` → id of the client | nil: no | nil, err: it
-- cannot be told, and maybe `failed(self, ctx, user)`, told when its no was the last word.

local failure = require "tidegate.failure"
local lockout = require "tidegate.policy.auth.lockout"
local secret = require "tidegate.policy.auth.secret"

local M = {
  kind = "auther",
  list = "authers",
  main = "check",
  on_error = nil, -- nobody gets in
}

--- Compare without telling by time how much agrees.
M.same = secret.same

-- Tables ------------------------------------------------------------------------------------------

local function split_line(line)
  local user, password = line:match "^(%S+)%s*(.*)$"
  return { user, password }
end

--- Lines are "user password", a hash in Redis has users for fields.  A password may have a "#".
M.loader = {
  redis = "hash",
  comments = "first",
  line = split_line,
  item = function(user, password)
    return user ~= "" and { user, password } or nil
  end,
}

local SOURCES = { "file", "redis", "http" } -- later ones win

local function add_inline(users, items)
  for _, item in ipairs(items or {}) do
    if item.username and item.username ~= "" then
      users[item.username] = item.password or ""
    end
  end
end

-- For users who do not exist one of the hashes is computed as well: time must not tell who does.
local function with_decoy(users)
  for _, stored in pairs(users) do
    if secret.is_hash(stored) then
      return { users = users, decoy = stored }
    end
  end
  return { users = users }
end

--- The table of an auther of the configuration.
function M.prepare(config, loaded)
  local users = {}
  add_inline(users, config.auths)
  for _, source in ipairs(SOURCES) do
    for _, item in ipairs(loaded[source] or {}) do
      users[item[1]] = item[2]
    end
  end
  return with_decoy(users)
end

local list_mt = { __name = "tidegate.auther", __index = {} }
local list = list_mt.__index

-- Take the time a comparison takes.
local function pretend(self, password)
  secret.matches(password, self.decoy or "\0")
  return nil
end

-- The same with an eye on those who guess.
local function check_guarded(guard, ctx, user, password, stored)
  local ok, err = guard:admits(ctx, user)
  if not ok then
    return nil, err
  end
  local matches = stored == ""
  if not matches then
    matches, err = secret.matches(password, stored, function()
      return not guard:locked(ctx, user)
    end)
  end
  if not matches then
    return nil, err
  end
  ok, err = guard:admits(ctx, user) -- others may have failed meanwhile
  if not ok then
    return nil, err
  end
  guard:passed(ctx, user)
  return user
end

--- @return id | nil, err: why it could not be told; a stored empty password accepts any
function list:check(ctx, user, password)
  local stored = self.users[user]
  if not stored then
    return pretend(self, password)
  elseif self.lockout then
    return check_guarded(self.lockout, ctx, user, password, stored)
  elseif stored == "" then
    return user
  end
  local matches, err = secret.matches(password, stored)
  return matches and user or nil, err
end

--- Note that the user was refused.
function list:failed(ctx, user)
  if self.lockout then
    self.lockout:failed(ctx, user)
  end
end

--- Take other users.
function list:load(data)
  self.users, self.decoy = data.users, data.decoy
end

--- An auther of a list of { username, password }; those without a name do not count.
function M.list_of(items)
  local users = {}
  add_inline(users, items)
  return setmetatable(with_decoy(users), list_mt)
end

--- An auther of the configuration.
function M.new(config, env)
  env = env or {}
  local self = M.list_of(config.auths)
  self.lockout = lockout.new(config.lockout, config.name, env.log)
  if env.data then
    self:load(env.data)
  end
  return self
end

--- What tg.auther(name, { user = password }) declares; a table in gost's schema is taken as it is.
function M.declare(spec)
  if type(spec.auths) == "table" or spec.plugin or type(spec.file) == "table" or type(spec.redis) == "table"
    or type(spec.http) == "table" then
    return spec
  end
  local auths = {}
  for user, password in pairs(spec) do
    auths[#auths + 1] = type(password) == "table" and password
      or { username = user, password = tostring(password) }
  end
  return { auths = auths }
end

--- What a script says: true, an id, or nothing.
function M.answer(id)
  if id and id ~= true and type(id) ~= "string" then
    return "true, an id or nil", id
  end
end

local scripted_mt = { __name = "tidegate.auther.scripted", __index = {} }

-- Scripts think of the user first: check(user, password, ctx) → true, an id, or nil.
function scripted_mt.__index:check(ctx, user, password)
  local id = self.methods:check(user, password, ctx)
  if id == true then
    return user
  end
  return type(id) == "string" and id or nil
end

--- An auther of a script.
function M.scripted(methods)
  return setmetatable({ methods = methods }, scripted_mt)
end

-- Groups ------------------------------------------------------------------------------------------

local group_mt = { __name = "tidegate.auther.group", __index = {} }

-- A name nobody defined refuses.
-- @return id | nil, err, members that said no and want to know that it came to nothing
function group_mt.__index:check(ctx, user, password)
  local reason, refusers
  for i = 1, #self.names do
    local auther = self.authers[self.names[i]]
    local id, err
    if auther then
      id, err = auther:check(ctx, user, password)
    end
    if id then
      return id
    elseif auther and auther.failed and not err then
      refusers = refusers or {}
      refusers[#refusers + 1] = auther
    end
    reason = err or reason
  end
  return nil, reason, refusers
end

local function names_of(config)
  local names = {}
  if config.auther and config.auther ~= "" then
    names[1] = config.auther
  end
  for _, name in ipairs(config.authers or {}) do
    names[#names + 1] = name
  end
  return names
end

--- The auther of a handler or listener: `auther` and `authers` (the first that accepts wins), else the
-- inline `auth`.
-- @param authers name → auther
-- @return auther, or nil: everybody may
function M.of(config, authers)
  local names = names_of(config)
  if #names > 0 then
    return setmetatable({ names = names, authers = authers }, group_mt)
  elseif config.auth and config.auth.username and config.auth.username ~= "" then
    return M.list_of { config.auth }
  end
end

--- Give a service its authers: the handler's, and the listener's for those that know users themselves.
function M.attach(service, config)
  local authers = service.registry.authers
  service.auther = M.of(config.handler or {}, authers)
  service.listener_auther = M.of(config.listener or {}, authers)
  return true
end

--- Check credentials.  Being wrong may take longer than being right.
-- @return id | nil, err
function M.check(auther, ctx, user, password)
  user, password = user or "", password or ""
  local id, err, refusers = auther:check(ctx, user, password)
  if id then
    return id
  elseif user == "" then
    return nil, failure.new("auth", "no credentials")
  elseif refusers then
    for _, one in ipairs(refusers) do
      one:failed(ctx, user)
    end
  elseif auther.failed and not err then
    auther:failed(ctx, user)
  end
  local reason = failure.new("auth", "wrong user or password")
  reason.cause = failure.is(err) and err or nil
  return nil, reason
end

return M
