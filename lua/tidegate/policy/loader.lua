-- Reading the items of a policy from where they are kept: a file, Redis or a URL.
--
-- A kind says in `loader` what the items look like:
--   redis     which type its key has when `type` says nothing: "set", "hash", "list" or "string"
--   types     other types that `type` may say: { list = true, … }
--   comments  "any": "#" starts a comment anywhere; "first": only as the first character of a line
--   line      function(text) → item, or nil to leave it out (default: the text is the item)
--   item      the same for what Redis holds: function(text), for a hash function(field, value)
--             (default: what `line` makes of "text" or "field value")
--   raw       true: no items, but the text as it is; members of sets and lists as they are, in a list
-- Lines may be of any length, where gost stops reading a source at one of 64 KiB.

local failure = require "tidegate.failure"
local file = require "tidegate.policy.loader.file"
local lazy = require "tidegate.lazy"
local http = lazy "tidegate.net.http"
local redis = lazy "tidegate.net.redis"
local task = require "tidegate.native.task"

local M = {}

local REDIS_TIMEOUT = 15 -- seconds, when the configuration sets no limit
local HTTP_TIMEOUT = 60 -- seconds, when the configuration sets no limit
local HTTP_LIMIT = 512 * 1024 * 1024
local REDIRECTS = 10
local BREATH = 50000 -- items after which others get a turn

-- Lists may be long and nobody waits for them.
local function breathe(count)
  if count % BREATH == 0 and task.is_task() then
    task.sleep(0)
  end
end

local comment_of = {}

function comment_of.any(line)
  return (line:gsub("#.*", ""))
end

function comment_of.first(line)
  return line:find "^%s*#" and "" or line
end

local function same(text)
  return text
end

--- The items of a text, one a line.
function M.items_of(text, spec)
  local items, read = {}, 0
  local strip, make = comment_of[spec.comments] or same, spec.line or same
  text = text:gsub("^\239\187\191", "")
  for line in text:gmatch "[^\r\n]+" do
    line = strip(line):gsub("\t", " "):match "^%s*(.-)%s*$"
    local item = nil
    if line ~= "" then
      item = make(line)
    end
    if item ~= nil then
      items[#items + 1] = item
    end
    read = read + 1
    breathe(read)
  end
  return items
end

local function content(text, spec)
  return spec.raw and text or M.items_of(text, spec)
end

local sources = {}

function sources.file(config, spec)
  local text, err = file.read(config.path)
  if not text then
    return nil, err
  end
  return content(text, spec)
end

function sources.http(config, spec)
  local response, err = http.request {
    url = config.url,
    timeout = (config.timeout or 0) > 0 and config.timeout or HTTP_TIMEOUT,
    redirects = REDIRECTS,
    limit = HTTP_LIMIT,
  }
  if not response then
    return nil, err
  elseif response.status ~= 200 then
    return nil, failure.new("io", ("status %d"):format(response.status), { op = "http GET", addr = config.url })
  end
  return content(response.body, spec)
end

-- Redis -------------------------------------------------------------------------------------------

local commands = {
  set = function(key)
    return "SMEMBERS", key
  end,
  list = function(key)
    return "LRANGE", key, 0, -1
  end,
  hash = function(key)
    return "HGETALL", key
  end,
  string = function(key)
    return "GET", key
  end,
}

local readers = {}

function readers.string(text, spec)
  return content(text, spec)
end

function readers.list(members, spec)
  if spec.raw then
    return members
  end
  local items = {}
  local make = spec.item or spec.line or same
  for i = 1, #members do
    local item = make(members[i])
    if item ~= nil then
      items[#items + 1] = item
    end
    breathe(i)
  end
  return items
end

readers.set = readers.list

local function as_line(make)
  return function(field, value)
    return make(field .. " " .. value)
  end
end

function readers.hash(pairs_of, spec)
  local items = {}
  local make = spec.item or as_line(spec.raw and same or spec.line or same)
  for i = 1, #pairs_of - 1, 2 do
    local item = make(pairs_of[i], pairs_of[i + 1])
    if item ~= nil then
      items[#items + 1] = item
    end
    breathe(i)
  end
  return items
end

local function type_of(config, spec)
  local wanted = config.type and config.type:lower() or ""
  return spec.types and spec.types[wanted] and wanted or spec.redis or "set"
end

local function only_texts(reply)
  for i = 1, #reply do
    if type(reply[i]) ~= "string" then
      return false
    end
  end
  return true
end

function sources.redis(config, spec)
  local client = redis.open {
    addr = config.addr,
    db = config.db,
    username = config.username,
    password = config.password,
    timeout = (config.timeout or 0) > 0 and config.timeout or REDIS_TIMEOUT,
    connections = 1,
  }
  local key = config.key and config.key ~= "" and config.key or "gost"
  local kind = type_of(config, spec)
  local reply, err = client:call(commands[kind](key))
  client:close()
  if reply == nil then
    return nil, err or failure.new("io", ("there is no key %q"):format(key), { op = "redis", addr = config.addr })
  elseif type(reply) ~= (kind == "string" and "string" or "table") or kind ~= "string" and not only_texts(reply) then
    return nil, failure.new("protocol", "an answer to another question", { op = "redis", addr = config.addr })
  end
  return readers[kind](reply, spec)
end

--- Read one source.  May wait.
-- @param source "file", "redis" or "http"
-- @param config of the source
-- @param spec the kind's `loader`
-- @return items, or the text for kinds that want it raw | nil, err
function M.fetch(source, config, spec)
  return sources[source](config, spec)
end

--- Take note of what a file is now, before somebody else reads it: a watch that follows tells changes
-- from then on.
function M.note(path)
  file.note(path)
end

--- Call fn() whenever a file changes, however it is written: in place, or by another that takes its
-- name.  @return handle with close()
function M.watch(config, fn)
  return file.watch(config.path, fn)
end

return M
