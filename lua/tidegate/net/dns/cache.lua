-- A bounded table that forgets what was not used for longest.  Entries that have expired stay until
-- then: who would rather have an old answer than none can still get it.

local M = {}
local methods = {}
local mt = { __name = "tidegate.dns.cache", __index = methods }

--- @param limit how many entries are kept
function M.new(limit)
  local ends = {}
  ends.next, ends.prev = ends, ends
  return setmetatable({ limit = limit, count = 0, by_key = {}, ends = ends }, mt)
end

local function unlink(entry)
  entry.prev.next, entry.next.prev = entry.next, entry.prev
end

local function put_first(self, entry)
  local ends = self.ends
  entry.prev, entry.next = ends, ends.next
  ends.next.prev = entry
  ends.next = entry
end

--- @param now ms
-- @return value, seconds it is still good for (0 or less: it has expired) | nil
function methods:get(key, now)
  local entry = self.by_key[key]
  if not entry then
    return nil
  end
  if self.ends.next ~= entry then
    unlink(entry)
    put_first(self, entry)
  end
  return entry.value, (entry.until_ms - now) / 1000
end

--- Keep a value for `ttl` seconds from `now` (ms) on.
function methods:set(key, value, ttl, now)
  local entry = self.by_key[key]
  if entry then
    unlink(entry)
  elseif self.count >= self.limit then
    entry = self.ends.prev
    unlink(entry)
    self.by_key[entry.key] = nil
  else
    entry = {}
    self.count = self.count + 1
  end
  entry.key, entry.value, entry.until_ms = key, value, now + ttl * 1000
  self.by_key[key] = entry
  put_first(self, entry)
end

--- Forget everything.
function methods:clear()
  self.by_key, self.count = {}, 0
  self.ends.next, self.ends.prev = self.ends, self.ends
end

return M
