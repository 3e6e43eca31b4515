-- What the handlers and connectors of Shadowsocks share: methods, keys, users.

local failure = require "tidegate.failure"
local log = require "tidegate.process.log"
local metering = require "tidegate.process.metering"
local process = require "tidegate.native.process"
local ss = require "tidegate.native.ss"

local M = {}

local ADDRESS = ss.address

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

-- What is not safe, said by one of the workers.
local function warn(auth, kind, what)
  local weak = kind == "stream" and "the method %s does not notice forged data and is broken: use an AEAD method"
    or kind == "clear" and "the method %s does not encrypt"
    or (auth.password or "") == "" and "the password is empty: whoever knows the method %s gets in"
  if weak and process.id() <= 1 then
    log.default():warn(("%s: " .. weak):format(what, auth.username))
  end
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
  warn(auth, kind_of(auth.username), what)
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

-- Who sends something else than a valid request learns nothing: what comes is read and thrown away until
-- the time for a request is over.  @return nil, why
local function ignore(top, deadline, why)
  local stream = ss.strip(top)
  if stream then
    stream:set_deadline(deadline)
    repeat
      local bytes = stream:read()
    until not bytes
    stream:close()
  end
  return nil, why
end

--- Note whose key it is.
function M.identify(ctx, user)
  if user then
    ctx.user = user
    metering.authenticated(ctx)
  end
end

--- Take the request off a stream.
-- @param self a handler: its `key` and `md.readTimeout`
-- @return stream of the client's bytes, "host:port" of the target | nil, err
function M.accept(self, ctx, stream)
  local timeout = self.md.readTimeout
  local deadline = ctx:after(timeout > 0 and timeout or 15)
  local top, err = ss.server(stream, self.key)
  if not top then
    return nil, err
  end
  ctx:own(top)
  top:set_deadline(deadline)
  local target
  target, err = top:receive(ADDRESS)
  if not target then
    err = err:during "request"
    if err.code == "auth" or err.code == "protocol" then
      return ignore(top, deadline, err)
    end
    return nil, err
  end
  top:set_deadline(nil)
  M.identify(ctx, ss.user(top))
  return top, target
end

return M
