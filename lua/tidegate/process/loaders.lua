-- Items of policies that come from files, Redis and URLs: fetched and prepared here, once, in the control
-- thread; the workers get what is ready.
--
-- What belongs to one object of the configuration is known by its key (tidegate.policy.policy), so that a
-- reload which leaves the object as it was leaves its data as well.  A source that fails keeps its last
-- good items; it says so once, and once more when it has recovered.
--
-- Reading itself is tidegate.policy.loader: `fetch(source, config, spec)` → items | nil, err for a source
-- "file", "redis" or "http", and `watch(config, fn)` → handle that calls fn() whenever the file changes.

local buffer = require "string.buffer"
local kinds = require "tidegate.policy.kinds"
local loader = require "tidegate.policy.loader"
local nodes = require "tidegate.chain.nodes"
local log = require "tidegate.process.log"
local policy = require "tidegate.policy.policy"
local task = require "tidegate.native.task"

local M = {}

local FIRST_MS = 3000 -- how long the start waits for sources that are slow to answer the first time
local SHORTEST = 1 -- seconds between two readings
local APPLYING = 0.01 -- seconds between two looks at whether a configuration has been applied

local entries = {} -- key → entry: { kind, config, loaded, data, failing, used, watches, stopped }
local applying = false -- a configuration is on its way to the workers
local publish -- function(key, data) → gives it to all workers, returns when they have it

-- Sources of an object that are configured, in the order they are asked.
local SOURCES = { "file", "redis", "http" }

local function say(entry, level, text)
  local kind = entry.kind.kind
  log.default():log(level, ("%s %s: %s"):format(kind, entry.config.name or "", text),
    { "kind", kind, kind, entry.config.name or "" })
end

-- Read one source.  @return true when there are new items
local function fetch(entry, source)
  local items, err = loader.fetch(source, entry.config[source], entry.kind.loader)
  if not items then
    if not entry.failing[source] then
      entry.failing[source] = true
      say(entry, "warn", ("%s; %s"):format(tostring(err), entry.loaded[source]
        and "what was read before stays" or "it has no items until this works"))
    end
    return false
  end
  if entry.failing[source] then
    entry.failing[source] = nil
    say(entry, "info", ("the source %s works again"):format(source))
  end
  entry.loaded[source] = items
  return true
end

local function files_of(entry)
  return entry.kind.files and entry.kind.files(entry.config) or {}
end

local function prepare(entry)
  if not entry.kind.prepare then
    return entry.loaded
  end
  for _, path in ipairs(files_of(entry)) do
    loader.note(path)
  end
  return entry.kind.prepare(entry.config, entry.loaded)
end

local function release(entry, data)
  if data ~= nil and entry.kind.release then
    entry.kind.release(data)
  end
end

-- What came anew goes to the workers; equal data need not.
local function renew(entry)
  while applying do -- the workers that are being told of this object must not miss what it has now
    task.sleep(APPLYING)
  end
  local data, err = prepare(entry)
  if data == nil then
    return say(entry, "error", ("%s; what was there before stays"):format(tostring(err)))
  end
  local text = buffer.encode(data)
  if text == entry.text or entry.stopped then
    return release(entry, data)
  end
  local before = entry.data
  entry.data, entry.text = data, text
  if publish(entry.key, data) then
    release(entry, before)
  end
end

-- One reading at a time for each object; what is asked for meanwhile follows.
local function refresh(entry, sources)
  for _, source in ipairs(sources) do
    entry.wanted[source] = true
  end
  if entry.busy then
    return
  end
  entry.busy = true
  repeat
    for _, source in ipairs(SOURCES) do
      if entry.wanted[source] then
        entry.wanted[source] = nil
        entry.changed = fetch(entry, source) or entry.changed
      end
    end
    if entry.changed and entry.followed then
      entry.changed = false
      renew(entry)
    end
  until not next(entry.wanted) and not (entry.changed and entry.followed) or entry.stopped
  entry.busy = false
end

local function read_again(entry, sources, seconds)
  while not entry.stopped do
    task.sleep(math.max(seconds, SHORTEST))
    if not entry.stopped then
      refresh(entry, sources)
    end
  end
end

-- Keep an object's sources fresh from now on.
local function follow(entry)
  local sources = entry.sources
  if entry.config.file then
    local watch = loader.watch(entry.config.file, function()
      task.spawn(refresh, entry, { "file" })
    end)
    entry.watches[1] = watch
  end
  for _, path in ipairs(files_of(entry)) do
    entry.watches[#entry.watches + 1] = loader.watch({ path = path }, function()
      entry.changed = true
      task.spawn(refresh, entry, {})
    end)
  end
  local seconds = entry.config.reload or 0
  if seconds > 0 and #sources > 0 then
    task.spawn(read_again, entry, sources, seconds)
  end
end

local function stop(entry)
  entry.stopped = true
  for _, watch in ipairs(entry.watches) do
    watch:close()
  end
  release(entry, entry.data)
end

-- Objects that have something to be loaded or prepared: { kind, list, config }.
local function objects_of(config)
  local found = {}
  local function add(kind, list, item)
    if not item.plugin and not item.scripted and (kind.prepare or item.file or item.redis or item.http) then
      found[#found + 1] = { kind = kind, list = list, config = item }
    end
  end
  for _, kind in ipairs(kinds.all) do
    if config[kind.list] and (kind.loader or kind.prepare) then
      for _, item in ipairs(config[kind.list] or {}) do
        add(kind, kind.list, item)
      end
    end
  end
  for _, item in ipairs(config.hops or {}) do
    add(nodes, "hops", item)
  end
  for _, chain in ipairs(config.chains or {}) do
    for _, item in ipairs(chain.hops or {}) do
      add(nodes, "chains/" .. (chain.name or ""), item)
    end
  end
  return found
end

local function new_entry(key, object)
  local sources = {}
  for _, source in ipairs(SOURCES) do
    sources[#sources + 1] = object.kind.loader and object.config[source] and source or nil
  end
  return {
    key = key,
    kind = object.kind,
    config = object.config,
    sources = sources,
    loaded = {},
    failing = {},
    wanted = {},
    watches = {},
  }
end

-- The first reading of all that is new, side by side.  Files are always waited for.
local function read_first(fresh)
  local missing, waiter = 0, task.waiter()
  for _, entry in ipairs(fresh) do
    if entry.config.file then
      refresh(entry, { "file" })
    end
    local remote = {}
    for _, source in ipairs(entry.sources) do
      remote[#remote + 1] = source ~= "file" and source or nil
    end
    if #remote > 0 then
      missing = missing + 1
      task.spawn(function()
        refresh(entry, remote)
        missing = missing - 1
        if missing == 0 then
          waiter:wake(true)
        end
      end)
    end
  end
  if missing > 0 then
    waiter:wait(task.now() + FIRST_MS)
  end
end

--- Say how workers are given new data: function(key, data) → true when all have it.
function M.on_data(fn)
  publish = fn
end

--- Load and prepare what a configuration needs.  May wait.
-- @return key → data | nil, a list of problems
function M.ready(config)
  applying = true
  local data, problems, fresh, needed = {}, {}, {}, {}
  for _, object in ipairs(objects_of(config)) do
    local key = policy.key(object.list, object.config)
    needed[key] = true
    if not entries[key] then
      entries[key] = new_entry(key, object)
      fresh[#fresh + 1] = entries[key]
    end
  end
  read_first(fresh)
  for _, entry in ipairs(fresh) do
    entry.changed = false
    local made, err = prepare(entry)
    if made == nil then
      problems[#problems + 1] = ("%s %s: %s"):format(entry.kind.kind, entry.config.name or "?", tostring(err))
    end
    entry.data, entry.text = made, made ~= nil and buffer.encode(made) or nil
  end
  if #problems > 0 then
    for _, entry in ipairs(fresh) do
      entries[entry.key] = nil
      stop(entry)
    end
    return nil, problems
  end
  for key in pairs(needed) do
    data[key] = entries[key].data
  end
  return data
end

--- The configuration is in force (or, after a refusal, the one before still is): follow the sources of
-- its objects, and let go of all others.
function M.settle(config)
  local needed = {}
  for _, object in ipairs(config and objects_of(config) or {}) do
    needed[policy.key(object.list, object.config)] = true
  end
  for key, entry in pairs(entries) do
    if not needed[key] then
      entries[key] = nil
      stop(entry)
    elseif not entry.followed then
      entry.followed = true
      follow(entry)
      task.spawn(refresh, entry, {}) -- something may have come too late for the start
    end
  end
  applying = false
end

return M
