-- Those who guess passwords are slowed down, and shut out after a number of failures.
--
-- What is counted are failures of one user name from one address (of IPv6, from one /64), in all workers
-- together.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local shared = require "tidegate.native.shared"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.lockout", __index = methods }

local FAILURES, WINDOW, DURATION = 5, 60, 300
local NAME_MAX = 128

--- @param config { failures, window, duration, delay } (times in seconds), or nil
-- @return object, or nil when nothing is configured
function M.new(config, name, log)
  if not config then
    return nil
  end
  return setmetatable({
    failures = config.failures or FAILURES,
    window = config.window or WINDOW,
    duration = config.duration or DURATION,
    delay = config.delay or 0,
    counts = shared.dict("auther/" .. (name or "") .. "/failures"),
    locks = shared.dict("auther/" .. (name or "") .. "/locks"),
    log = log,
  }, mt)
end

local function key_of(ctx, user)
  local ip = ctx.client_ip or ""
  local bytes = addr.bytes(ip) or ip
  return (#bytes == 16 and bytes:sub(1, 8) or bytes) .. "/" .. user:sub(1, NAME_MAX)
end

--- @return whether somebody is shut out now
function methods:locked(ctx, user)
  return self.failures > 0 and self.locks:get(key_of(ctx, user)) ~= nil
end

--- @return true, when somebody is not shut out | nil, err
function methods:admits(ctx, user)
  if self:locked(ctx, user) then
    return nil, failure.new("auth", "locked out after too many failures")
  end
  return true
end

--- Take note of a failure; waits for the delay.
function methods:failed(ctx, user)
  local key = key_of(ctx, user)
  if self.failures > 0 and not self.locks:get(key) then
    local count = self.counts:incr(key, 1, 0, self.window)
    if count and count >= self.failures then
      self.counts:delete(key)
      if self.locks:set(key, true, self.duration) and self.log then
        self.log:warn(("user %q from %s is locked out for %gs after %d failures")
          :format(user:sub(1, NAME_MAX), ctx.client_ip or "?", self.duration, count))
      end
    end
  end
  if self.delay > 0 and task.is_task() then
    task.sleep(self.delay)
  end
end

--- Take note of a success.
function methods:passed(ctx, user)
  self.counts:delete(key_of(ctx, user))
end

return M
