-- What the handlers and connectors of Shadowsocks share: methods, keys, users.

local failure = require "tidegate.failure"
local log = require "tidegate.process.log"
local ss = require "tidegate.native.ss"

local M = {}

local kinds, names = {}, {}
for i, method in ipairs(ss.methods()) do
  kinds[method.name] = method.kind
  names[i] = method.name
end

-- Others write the names of AEAD methods in other ways: the native part knows them.
local function kind_of(name)
  return kinds[name:lower()]
end

local function nearest(name)
  local plain = name:lower():gsub("[^%w]", "")
  for _, known in ipairs(names) do
    if known:gsub("[^%w]", "") == plain then
      return (" (is it %s?)"):format(known)
    end
  end
  return ""
end

local function unknown(name)
  return failure.new("config", ("unknown method %q%s; known are %s"):format(
    name, nearest(name), table.concat(names, ", ")))
end

--- Make the key of what `auth` says: username is the method, password the password or key.
-- @param what "handler ss" or the like, for the warning about methods that are not safe
-- @return key | nil, err
function M.key(auth, what)
  if not auth then
    return nil, failure.new("config", "auth is required: the method as username, and the password")
  end
  local key, err = ss.key(auth.username, auth.password)
  if not key then
    return nil, err.message == "unknown method" and unknown(auth.username) or err
  end
  local kind = kind_of(auth.username)
  if kind == "stream" then
    log.default():warn(("%s: the method %s does not notice forged data and is broken: use an AEAD method"):format(
      what, auth.username))
  elseif kind == "clear" then
    log.default():warn(("%s: the method %s does not encrypt"):format(what, auth.username))
  end
  return key
end

--- The same for a server, with its users: { name = key }.
-- @return key | nil, err
function M.server_key(auth, users, what)
  local key, err = M.key(auth, what)
  if not key then
    return nil, err
  elseif key:identities() > 0 then
    return nil, failure.new("config", "a server has one key: those of its users go into the metadata users")
  end
  for name, password in pairs(users or {}) do
    local ok
    ok, err = key:add_user(name, tostring(password))
    if not ok then
      return nil, failure.new("config", ("users: %s: %s"):format(name, err.message))
    end
  end
  return key
end

return M
