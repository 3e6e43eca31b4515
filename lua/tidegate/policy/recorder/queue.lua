-- Records on their way to a sink: whoever records never waits.
--
-- Each worker has a queue of its own.  What the sink does not take is tried again, each time a little
-- later; meanwhile records gather, up to a bound, and what does not fit is dropped and counted.
--
-- A sink has
--   write(self, list, from) → how many of list[from], list[from + 1] … it took | that and an error.
--       An error with `rejected` is about the next record alone, which is then given up.
-- or, where records are but bytes one after the other, each with the sink's `sep` behind it,
--   append(self, text) → how many bytes of some records' text it took | that and an error.
--   bytes  after so many a text takes no further record
-- and
--   close(self)   optional; it may be asked to write again afterwards
--   lanes, batch  how many writes at once (default 1), how many records each (default 1)
--   pace  seconds between two writes of a lane, so that more records come together (default 0)
-- Records for append() lie in `queue.store`, outside of Lua (tidegate.native.records), and connections that
-- end put theirs in by themselves.

local failure = require "tidegate.failure"
local health = require "tidegate.process.health"
local keys = require "tidegate.policy.limit.keys"
local log = require "tidegate.process.log"
local records = require "tidegate.native.records"
local shared = require "tidegate.native.shared"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.recorder", __index = methods }

local MOST = 16384 -- records that may wait
local MOST_BYTES = 16777216
local PAUSES = { 0.1, 0.2, 0.5, 1, 2, 5 } -- seconds between attempts; the last for ever
local HOPELESS = { config = true, invalid = true, unsupported = true } -- trying again would not help
local PATIENCE_MS = 10000 -- that a closed queue tries to get rid of what it holds

local alive = setmetatable({}, { __mode = "k" })

--- @return whether something is a queue
function M.is(value)
  return getmetatable(value) == mt
end

--- @param sink see above
-- @param name of the recorder
-- @param options nil or { log =, most = records, bytes = }
function M.new(sink, name, options)
  options = options or {}
  local self = setmetatable({
    sink = sink,
    name = name,
    first = 1, -- index of the oldest that waits
    last = 0,
    bytes = 0,
    lanes = 0, -- at work
    taken = 0, -- records that lanes have
    most = options.most or MOST,
    most_bytes = options.bytes or MOST_BYTES,
    pausing = {}, -- lane → waiter
    records = shared.counter(keys.name("recorder", name, "records")),
    dropped = shared.counter(keys.name("recorder", name, "dropped")),
    health = health.new("recorder/" .. name, "recorder " .. name, options.log),
    full = health.new("recorder/" .. name .. "/full", "recorder " .. name, options.log),
  }, mt)
  if sink.append then
    self.store = records.new(self, sink.sep or "", self.most, self.most_bytes, self.records, self.dropped)
  end
  alive[self] = true
  return self
end

local function size_of(entry)
  return #entry.data + 64
end

local function take(self)
  local batch, count = {}, math.min(self.sink.batch or 1, self.last - self.first + 1)
  for i = 1, count do
    local entry = self[self.first]
    self[self.first] = nil
    self.first = self.first + 1
    self.bytes = self.bytes - size_of(entry)
    batch[i] = entry
  end
  if self.first > self.last then -- small numbers again: they are cheaper
    self.first, self.last = 1, 0
  end
  return count > 0 and batch or nil
end

local function drop(self, count)
  self.dropped:add(count)
end

local function lost_since(self)
  return function()
    local count = self.dropped:get() - (self.dropped_before or 0)
    self.dropped_before = self.dropped:get()
    return count > 0 and ("%d records were dropped"):format(count) or nil
  end
end

-- How many records wait.
local function count_waiting(self)
  return self.store and self.store:waiting() or self.last - self.first + 1
end

-- Wait; whoever closes the queue cuts it short.
local function pause(self, lane, seconds)
  local waiter = task.waiter()
  self.pausing[lane] = waiter
  waiter:wait(task.now() + seconds * 1000)
  self.pausing[lane] = nil
end

-- Hand a batch over, however long it takes.
local function deliver(self, lane, batch)
  local done, tries = 0, 0
  while done < #batch do
    local ok, count, err = pcall(self.sink.write, self.sink, batch, done + 1)
    if not ok then
      count, err = 0, failure.new("io", tostring(count), { rejected = true })
    end
    done = done + count
    if not err then
      self.health:good(lost_since(self))
      tries = 0
    else
      local hopeless = err.rejected or HOPELESS[err.code]
      self.health:bad(err, hopeless and "the record is given up" or "records wait")
      if hopeless then
        done = done + 1
        drop(self, 1)
      elseif self.give_up and task.now() >= self.give_up then
        drop(self, #batch - done)
        return
      else
        tries = count > 0 and 1 or tries + 1
        pause(self, lane, PAUSES[math.min(tries, #PAUSES)])
      end
    end
  end
end

-- The same for the text of `count` records.
local function deliver_text(self, lane, text, count)
  local done, tries = 0, 0
  while done < #text do
    local ok, more, err = pcall(self.sink.append, self.sink, done > 0 and text:sub(done + 1) or text)
    if not ok then
      more, err = 0, failure.new("io", tostring(more), { rejected = true })
    end
    done = done + more
    if not err then
      self.health:good(lost_since(self))
      tries = 0
    else
      local hopeless = err.rejected or HOPELESS[err.code]
      self.health:bad(err, hopeless and "records are given up" or "records wait")
      if hopeless or self.give_up and task.now() >= self.give_up then
        drop(self, count - self.store:begun(done))
        return
      end
      tries = more > 0 and 1 or tries + 1
      pause(self, lane, PAUSES[math.min(tries, #PAUSES)])
    end
  end
end

local function close_sink(self)
  if self.sink.close then
    self.sink:close()
  end
end

-- Let records come together for the next write, unless somebody waits for the last.
local function gather(self, lane)
  local pace = self.sink.pace
  if pace and not self.give_up and not self.flushing and count_waiting(self) < self.sink.batch then
    pause(self, lane, pace)
  end
end

local function run(self, lane)
  local batch = take(self)
  while batch do
    self.taken = self.taken + #batch
    deliver(self, lane, batch)
    self.taken = self.taken - #batch
    gather(self, lane)
    if self.first > self.last then
      self.full:good(lost_since(self))
    end
    batch = take(self)
  end
  self.lanes = self.lanes - 1
  if self.lanes == 0 and self.give_up then
    close_sink(self)
  end
end

local function run_store(self, lane)
  local store, batch, bytes = self.store, self.sink.batch or 1, self.sink.bytes
  local text, count = store:take(batch, bytes)
  while text do
    self.taken = count
    deliver_text(self, lane, text, count)
    self.taken = 0
    gather(self, lane)
    local waiting, lossy = store:waiting()
    if waiting == 0 and not lossy then
      self.full:good(lost_since(self))
    end
    text, count = store:take(batch, bytes)
  end
  self.lanes = 0
  store:rest()
  if self.give_up then
    close_sink(self)
  end
end

local function too_many(self)
  local err = failure.new("limit", ("%d records wait already"):format(count_waiting(self)))
  self.full:bad(err, "further ones are dropped")
  return err
end

-- Something has come into the store, or did not fit.
records.on_arrival(function(self)
  if not self then
    return
  end
  local waiting, lossy = self.store:waiting()
  if lossy then
    too_many(self)
  end
  if self.give_up then
    self.give_up = task.now() + PATIENCE_MS
  end
  if waiting > 0 and self.lanes == 0 then
    self.lanes = 1
    run_store(self, {})
  end
end)

--- Queue a record; never waits.
-- @param data bytes
-- @param meta the metadata of the binding, for plugins and scripts
-- @return true | nil, err (code "limit")
function methods:record(data, meta)
  if self.store then
    if self.store:put(data) then
      return true
    end
    return nil, too_many(self)
  end
  local entry = { data = data, meta = meta }
  self.records:add(1)
  if self.last - self.first + 1 >= self.most or self.bytes + size_of(entry) > self.most_bytes then
    drop(self, 1)
    return nil, too_many(self)
  end
  if self.give_up then
    self.give_up = task.now() + PATIENCE_MS
  end
  self.last = self.last + 1
  self[self.last] = entry
  self.bytes = self.bytes + size_of(entry)
  if self.lanes < (self.sink.lanes or 1) then
    self.lanes = self.lanes + 1
    task.spawn(run, self, {})
  end
  return true
end

--- @return how many records wait or are being written
function methods:waiting()
  return count_waiting(self) + self.lanes
end

--- Wait until all is written, at most until `deadline` (ms).
function methods:flush(deadline)
  self.flushing = true
  while self:waiting() > 0 and task.now() < deadline do
    task.sleep(0.005)
  end
  self.flushing = nil
  return self:waiting() == 0
end

--- No more records are expected.  What waits is written, and what comes all the same (relays that outlive
-- a reload) as well.
function methods:close()
  self.give_up = task.now() + PATIENCE_MS
  for _, waiter in pairs(self.pausing) do
    waiter:wake()
  end
  if self:waiting() == 0 then
    close_sink(self)
  end
end

--- @return how many records a recorder of that name was given, and how many it lost; in all threads
function M.counts(name)
  return shared.counter(keys.name("recorder", name, "records")):get(),
    shared.counter(keys.name("recorder", name, "dropped")):get()
end

--- The process ends: wait until all queues of this VM are empty, at most until `deadline` (ms), and say what is lost.
function M.flush_all(deadline)
  local all = {}
  for self in pairs(alive) do
    all[#all + 1] = self
  end
  for _, self in ipairs(all) do
    if not self:flush(deadline) then
      local count = count_waiting(self) + self.taken
      drop(self, count)
      log.default():warn(("recorder %s: %d record%s lost at the end of the process"):format(self.name, count,
        count == 1 and " is" or "s are"))
    end
  end
end

return M
