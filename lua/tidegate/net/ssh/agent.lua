-- Client of an SSH agent (draft-miller-ssh-agent): which keys it has, and their signatures.
--
-- The libraries' own clients hold up the thread for as long as an agent takes.  So a login with a key is tried
-- twice: first it shows what is to be signed, if the server would take the key, then it has the signature.

local failure = require "tidegate.failure"
local native = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}

local LIST, KEYS, SIGN, SIGNATURE = 11, 12, 13, 14
local LIST_MS = 5000 -- it has these at hand
local SIGN_MS = 60000 -- it may ask its user
local MESSAGE_MAX = 256 * 1024
local KEYS_MAX = 64
local FLAGS = { ["rsa-sha2-256"] = 2, ["rsa-sha2-512"] = 4 }

local function number(n)
  return string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
end

local function packed(text)
  return number(#text) .. text
end

-- @return the number at a place, where it ends | nil
local function take_number(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  if d then
    return ((a * 256 + b) * 256 + c) * 256 + d, at + 4
  end
end

-- @return the string at a place, where it ends | nil
local function take(text, at)
  local size, from = take_number(text, at or #text)
  if size and from + size - 1 <= #text then
    return text:sub(from, from + size - 1), from + size
  end
end

-- Its errors say who it is, and what to do about it.
local function complain(self, code, what)
  return nil, failure.new(code, ("the SSH agent at %s %s; `agent` in the dialer's metadata names another, or `none`")
    :format(self.label, what))
end

-- @return the answer | nil, err
local function ask(self, message, ms, deadline)
  local limit = task.now() + ms
  self.stream:set_deadline(deadline and math.min(deadline, limit) or limit)
  local ok, err = self.stream:write(packed(message))
  local head, answer
  if ok then
    head, err = self.stream:read_exact(4)
  end
  if head then
    local size = take_number(head, 1)
    if size < 1 or size > MESSAGE_MAX then
      return complain(self, "protocol", "answers nonsense")
    end
    answer, err = self.stream:read_exact(size)
  end
  if answer then
    return answer
  elseif err.code == "timeout" then
    return complain(self, "timeout", "does not answer")
  end
  return complain(self, err.code, "fails: " .. tostring(err))
end

-- @return list of public keys | nil, err
local function list(self, deadline)
  local answer, err = ask(self, string.char(LIST), LIST_MS, deadline)
  if not answer then
    return nil, err
  end
  local keys, count, at = {}, take_number(answer, 2)
  if answer:byte() ~= KEYS or not count then
    return complain(self, "protocol", "does not tell its keys")
  end
  for i = 1, math.min(count, KEYS_MAX) do
    keys[i], at = take(answer, at)
    local _
    _, at = take(answer, at)
    if not at then
      return complain(self, "protocol", "answers nonsense")
    end
  end
  return keys
end

-- What a server has signed names the algorithm (RFC 4252 7).
local function flags_of(data)
  local at, name = select(2, take(data, 1)), nil
  at = at and at + 1
  for _ = 1, 3 do
    _, at = take(data, at)
  end
  name = take(data, at and at + 1)
  return FLAGS[name] or 0
end

-- Two libraries: libssh speaks to an agent whose answers are given beforehand, and itself offers one key after the
-- other; libssh2 takes one and calls for a signature.  @return what login_agent() does; with `false` a request, and
-- the key that it is for, when the server would take that
local function libssh(session, keys, first, signature, deadline)
  local last = signature and first or #keys
  local answers = { string.char(KEYS), number(last - first + 1) }
  for i = first, last do
    answers[#answers + 1] = packed(keys[i]) .. packed ""
  end
  local frames = packed(table.concat(answers))
  if signature then
    frames = frames .. packed(string.char(SIGNATURE) .. packed(signature))
  end
  local done, err = session:login_agent(frames, deadline)
  local request = done == false and not signature and session:agent_request()
  local key = request and take(request, 2)
  for i = first, key and #keys or 0 do
    if keys[i] == key then
      return false, request, i
    end
  end
  return done, err, #keys
end

local function libssh2(session, keys, first, signature, deadline)
  local at = signature and select(2, take(signature, 1))
  local done, err = session:login_agent(keys[first], signature and take(signature, at) or nil, deadline)
  local data = done == false and not signature and session:agent_request()
  if data then
    return false, string.char(SIGN) .. packed(keys[first]) .. packed(data) .. number(flags_of(data)), first
  end
  return done, err, first
end

-- Offer keys, from the first on, until the server takes one or there is a signature to be had.
-- @return true | false, the last one offered | nil, err
local function try(self, session, keys, first, deadline)
  local login = session.listen and libssh or libssh2
  local done, request, at = login(session, keys, first, nil, deadline)
  if done ~= false then
    return done, request
  elseif type(request) ~= "string" or request:byte() ~= SIGN then
    return false, at
  end
  local answer, err = ask(self, request, SIGN_MS, deadline)
  if not answer then
    return nil, err
  end
  local signature = answer:byte() == SIGNATURE and take(answer, 2)
  if not signature then -- its user may have said no
    return false, at
  end
  done, err = login(session, keys, at, signature, deadline)
  return done, done == nil and err or at
end

--- Log in at a server with the keys of an agent, one after the other.
-- @param session of one of the two libraries
-- @param agent { path = its socket, label = that, and where it is from }
-- @param deadline nil or ms
-- @return true | false, none will do | nil, err
function M.login(session, agent, deadline)
  local limit = task.now() + LIST_MS
  local self = { label = agent.label }
  local err
  self.stream, err = native.dial("unix:" .. agent.path, nil, deadline and math.min(deadline, limit) or limit)
  if not self.stream then
    return complain(self, err.code, "cannot be reached: " .. tostring(err))
  end
  local keys, done
  keys, err = list(self, deadline)
  done = keys and false
  local last = 0
  while done == false and last < #keys do
    done, last = try(self, session, keys, last + 1, deadline)
  end
  self.stream:close()
  return done, done == nil and (err or last) or nil
end

return M
