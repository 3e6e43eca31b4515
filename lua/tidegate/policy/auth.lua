-- Who may use a service: tables of user names and passwords, groups of them, and scripts.
--
-- An auther is a table with `check(self, ctx, user, password)` → id of the client | nil.

local bit = require "bit"
local failure = require "tidegate.failure"

local bor, bxor = bit.bor, bit.bxor
local string_byte = string.byte

local M = {
  kind = "auther",
  list = "authers",
  main = "check",
  on_error = nil, -- nobody gets in
}

--- Compare without telling by time how much of it agrees; the length of `given` may show.
function M.same(given, stored)
  local difference = #given == #stored and 0 or 1
  for i = 1, #given do
    local other = string_byte(stored, (i - 1) % math.max(#stored, 1) + 1) or 0
    difference = bor(difference, bxor(string_byte(given, i), other))
  end
  return difference == 0
end

local list_mt = { __name = "tidegate.auther", __index = {} }

-- A stored empty password accepts any.
function list_mt.__index:check(_, user, password)
  local stored = self.users[user]
  local same = M.same(password, stored or "\0")
  if stored and (same or stored == "") then
    return user
  end
end

--- An auther of a list of { username, password }; those without a name do not count.
function M.list_of(items)
  local users = {}
  for _, item in ipairs(items or {}) do
    if item.username and item.username ~= "" then
      users[item.username] = item.password or ""
    end
  end
  return setmetatable({ users = users }, list_mt)
end

--- An auther of the configuration.
function M.new(config)
  return M.list_of(config.auths)
end

--- What tg.auther(name, { user = password }) declares; a table in gost's schema is taken as it is.
function M.declare(spec)
  if spec.auths or spec.plugin or spec.file or spec.redis or spec.http then
    return spec
  end
  local auths = {}
  for user, password in pairs(spec) do
    auths[#auths + 1] = type(password) == "table" and password
      or { username = user, password = tostring(password) }
  end
  return { auths = auths }
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

local group_mt = { __name = "tidegate.auther.group", __index = {} }

-- A name nobody defined refuses.
function group_mt.__index:check(ctx, user, password)
  for i = 1, #self.names do
    local auther = self.authers[self.names[i]]
    local id = auther and auther:check(ctx, user, password)
    if id then
      return id
    end
  end
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

--- Give a service its auther.
function M.attach(service, config)
  service.auther = M.of(config.handler or {}, service.registry.authers)
  return true
end

--- Check credentials.  @return id | nil, err
function M.check(auther, ctx, user, password)
  local id = auther:check(ctx, user or "", password or "")
  if not id then
    return nil, failure.new("auth", user and user ~= "" and "wrong user or password" or "no credentials")
  end
  return id
end

return M
