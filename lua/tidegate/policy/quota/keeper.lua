-- Quotas in the control thread: when they count, what they have counted, and keeping that.
--
-- A quota is two shared counters, by its name: `used` grows in the workers as bytes move while `cap` is
-- not 0, and nothing moves once `used` has reached `cap`.  While a reload is under way there may be two
-- keepers of one name; the elder is in charge until it is closed.

local duration = require "tidegate.config.duration"
local log = require "tidegate.process.log"
local shared = require "tidegate.native.shared"
local store = require "tidegate.policy.quota.store"
local task = require "tidegate.native.task"
local units = require "tidegate.policy.limit.units"
local uv = require "luv"
local window = require "tidegate.policy.quota.window"

local M = {}
local methods = {}
local mt = { __index = methods }

local TICK_MS = 1000
local FLUSH = 10 -- seconds
local COUNT_ONLY = 2 ^ 53 -- a cap that is never reached

local keepers = {} -- name → list, the elder first
local by_id, last_id = {}, 0
local timer

--- The names of a quota's two counters.
function M.counters(name)
  return shared.counter("quota/used/" .. name), shared.counter("quota/cap/" .. name)
end

local function say(self, level, text)
  log.default():log(level, ("quota %s: %s"):format(self.name, text), { "kind", "quota", "quota", self.name })
end

local function moment(self, field)
  local text = self.config[field]
  if text == nil or text == "" then
    return nil
  end
  local found = window.parse(text)
  if not found then
    say(self, "warn", ("%s: %q is no time of RFC 3339"):format(field, text))
  end
  return found
end

local function seconds(self)
  local text = self.config.flush
  if text == nil or text == "" then
    return FLUSH
  end
  local found = duration.parse(text)
  if not found or found <= 0 then
    say(self, "warn", ("flush: %q is no duration"):format(text))
    return FLUSH
  end
  return found
end

function methods:is_active()
  return window.contains(self.starts, self.expires, window.now())
end

function methods:is_blocked()
  return self.limit > 0 and self.cap:get() > 0 and self.used:get() >= self.cap:get()
end

-- Saving -----------------------------------------------------------------------------------------

local function record_of(self)
  return {
    used = self.used:get(),
    limit = self.limit,
    startsAt = window.digits(self.starts),
    expiresAt = window.digits(self.expires),
    updatedAt = window.digits(window.now()),
  }
end

local function save(self)
  local record = record_of(self)
  local ok, err = self.store:save(self.name, record)
  if ok then
    self.saved = record.used
    if self.failing then
      say(self, "info", "is kept again")
    end
  elseif not self.failing then
    say(self, "warn", "cannot be kept: " .. tostring(err))
  end
  self.failing = not ok
end

local function same_window(self, record)
  return tonumber(record.startsAt) == tonumber(window.digits(self.starts))
    and tonumber(record.expiresAt) == tonumber(window.digits(self.expires))
end

-- What was counted before is added to what has been counted meanwhile.
local function restore(self)
  local record, err = self.store:load(self.name)
  if record == nil then
    if not self.failing then
      say(self, "warn", "what was used before is not known: " .. tostring(err))
    end
    self.failing = true
    if not self.store.waits then -- a damaged file does not mend itself
      self.restored = true
    end
    return
  end
  if record and same_window(self, record) then
    self.used:add(record.used)
    self.saved = record.used
  end
  self.failing, self.restored = false, true
end

local function work(self)
  if self.restored then
    save(self)
  else
    restore(self)
  end
  self.busy = false
end

-- Restore or save, aside when that takes time.
local function keep(self)
  self.kept = task.now()
  if self.busy then
    return
  end
  self.busy = true
  if self.store.waits then
    task.spawn(work, self)
  else
    work(self)
  end
end

-- Time -------------------------------------------------------------------------------------------

-- Let the counters say what the time of day means.
local function evaluate(self)
  local active = self:is_active()
  self.cap:set(not active and 0 or self.limit > 0 and self.limit or COUNT_ONLY)
  local edge = active ~= self.active
  self.active = active
  local blocked = self:is_blocked()
  if blocked ~= self.blocked then
    self.blocked = blocked
    say(self, "info", blocked and "traffic limit reached" or "traffic flows again")
  end
  return edge
end

local function tick(self)
  local edge = evaluate(self)
  local due = task.now() >= self.kept + self.flush * 1000
  if edge or (due and self.saved ~= self.used:get()) or not self.restored then
    keep(self)
  end
end

local function on_timer()
  for _, list in pairs(keepers) do
    tick(list[1])
  end
end

-- A keeper is the first of its name from now on.
local function take_charge(self, before)
  if before then
    local same = window.digits(before.starts) == window.digits(self.starts)
      and window.digits(before.expires) == window.digits(self.expires)
    self.restored = same and before.restored or false
    if not same then
      self.used:reset()
    end
  end
  if not self.restored and not self.store.waits then
    restore(self)
  end
  evaluate(self)
end

--- Look after a quota of the configuration.  May wait for a store that does.
-- @return its number
function M.open(config)
  last_id = last_id + 1
  local self = setmetatable({
    id = last_id,
    name = config.name,
    config = config,
    direction = config.direction,
    kept = task.now(),
    saved = 0,
    restored = false,
    active = nil,
    blocked = false,
  }, mt)
  self.used, self.cap = M.counters(config.name)
  local good
  self.limit, good = units.limit(config.limit)
  if not good then
    say(self, "warn", ("limit: %q is no amount of bytes: counting only"):format(tostring(config.limit)))
  end
  self.starts, self.expires = moment(self, "startsAt"), moment(self, "expiresAt")
  self.flush = seconds(self)
  self.store, good = store.open(config.store)
  if not good then
    say(self, "warn", ("the store %q is not known: using a file"):format(config.store.type or ""))
  end
  local list = keepers[self.name] or {}
  keepers[self.name] = list
  list[#list + 1] = self
  by_id[self.id] = self
  if #list == 1 then
    self.used:reset() -- somebody may still hold it from before
    if self.store.waits then
      restore(self)
    end
    take_charge(self, nil)
    self.active = self:is_active()
  end
  if not timer then
    timer = uv.new_timer()
    timer:start(TICK_MS, TICK_MS, on_timer)
    timer:unref()
  end
  return self.id
end

local function leave(self)
  local list = keepers[self.name]
  local first = list[1] == self
  for i, one in ipairs(list) do
    if one == self then
      table.remove(list, i)
      break
    end
  end
  if #list == 0 then
    keepers[self.name] = nil
    self.cap:set(0)
  elseif first then
    take_charge(list[1], self)
  end
end

--- It is not needed any more: what it has counted is kept, and whoever it stopped goes on.
function M.close(id)
  local self = by_id[id]
  if not self then
    return
  end
  by_id[id] = nil
  local in_charge = keepers[self.name][1] == self
  if in_charge and self.restored and self.saved ~= self.used:get() then
    save(self)
  end
  leave(self)
  if self.store.close then
    self.store:close()
  end
  if not next(keepers) and timer then
    timer:stop()
    timer:close()
    timer = nil
  end
end

--- The state of a quota.
-- @return { used, limit, active, blocked, starts, expires (seconds or nil), direction } | nil
function M.status(name)
  local self = keepers[name] and keepers[name][1]
  return self and {
    used = self.used:get(),
    limit = self.limit,
    active = self:is_active(),
    blocked = self:is_blocked(),
    expired = self.expires ~= nil and not window.contains(nil, self.expires, window.now()),
    starts = self.starts and self.starts[1],
    expires = self.expires and self.expires[1],
    direction = (self.direction == "in" or self.direction == "out") and self.direction or "total",
  }
end

--- Set what a quota has counted.  May wait.  @return whether there is one of the name
function M.reset(name, used)
  local self = keepers[name] and keepers[name][1]
  if not self then
    return false
  end
  self.used:set(used or 0)
  self.restored = true
  evaluate(self)
  save(self)
  return true
end

return M
