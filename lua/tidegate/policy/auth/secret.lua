-- Does a password match what is stored: the password itself, or a hash of it (bcrypt, SHA-crypt, Argon2)?
--
-- Hashes are slow on purpose.  They are computed in the thread pool, few at a time, once for equal
-- questions that come together, and a match is remembered (as a keyed digest) so that the next login
-- is cheap.

local failure = require "tidegate.failure"
local native = require "tidegate.native.password"
local task = require "tidegate.native.task"

local M = {}

local AT_ONCE = 2 -- hashes being computed for this worker; the pool has other work to do
local WAITING = 256 -- further questions; more are refused
local REMEMBERED = 2048 -- matches, in each of two generations

local DOLLAR = 36

local key -- of the digests; made when there is a first hash, since OpenSSL costs 3 MB once it is used
local recent, older, count = {}, {}, 0
local asking = {} -- digest → waiters for the answer
local busy, queue = 0, {}

local function remember(digest)
  if count >= REMEMBERED then
    recent, older, count = {}, recent, 0
  end
  recent[digest], count = true, count + 1
end

local function is_remembered(digest)
  if recent[digest] then
    return true
  elseif older[digest] then
    remember(digest)
    return true
  end
  return false
end

-- Wait for a place among those at work.  @return true | nil, err
local function enter()
  if busy < AT_ONCE then
    busy = busy + 1
    return true
  elseif #queue >= WAITING then
    return nil, failure.new("busy", "too many passwords are being checked")
  end
  local waiter = task.waiter()
  queue[#queue + 1] = waiter
  waiter:wait()
  return true
end

local function leave()
  local waiter = table.remove(queue, 1)
  if waiter then
    waiter:wake(true)
  else
    busy = busy - 1
  end
end

-- @return whether they match, or nothing when the question does not count any more | nil, err
local function compute(given, stored, still)
  local ok, err = enter()
  if not ok then
    return nil, err
  end
  local matches = nil
  if not still or still() then
    matches, err = native.verify(given, stored)
  end
  leave()
  return matches, err
end

-- Who asks what is being asked already waits for that answer.  An answer of nothing is none for others.
local function verify(given, stored, still)
  key = key or assert(native.key())
  local digest = native.digest(key, stored, given)
  while asking[digest] do
    local waiter = task.waiter()
    table.insert(asking[digest], waiter)
    local matches, err = waiter:wait()
    if matches ~= nil or err then
      return matches, err
    end
  end
  if is_remembered(digest) then
    return true
  end
  local waiters = {}
  asking[digest] = waiters
  local matches, err = compute(given, stored, still)
  asking[digest] = nil
  if matches then
    remember(digest)
  end
  for _, waiter in ipairs(waiters) do
    waiter:wake(matches, err)
  end
  if err then
    return nil, err
  end
  return matches or false
end

--- @return whether a stored password is a hash
function M.is_hash(stored)
  return stored:byte() == DOLLAR and native.is_hash(stored)
end

--- Check a password.  For a hash it may wait.
-- @param stored not empty
-- @param still nil, or a function that tells, when it is this question's turn, whether it still counts
-- @return true or false | nil, err
function M.matches(given, stored, still)
  if M.is_hash(stored) then
    return verify(given, stored, still)
  end
  return native.same(given, stored)
end

--- Compare without telling by time how much agrees.
M.same = native.same

return M
