-- Where quotas are kept between two lives of the process: a file of JSON, or hash fields in Redis.
--
-- A record is { used, limit (numbers), startsAt, expiresAt, updatedAt (digits: nanoseconds since 1970) }.

local failure = require "tidegate.failure"
local json = require "tidegate.config.json"
local redis = require "tidegate.net.redis"
local sorted = require "tidegate.sorted"
local writer = require "tidegate.config.writer"

local M = {}

local DEFAULT_FILE = "gost-quota.json"
local TIMEOUT = 3 -- seconds of one call, when the configuration sets no limit
local DEFAULT_KEY = "gost-quota"

local FIELDS = { "used", "limit", "startsAt", "expiresAt", "updatedAt" }

-- One record as JSON.  @param indent before each field, or nil for one line
local function write(record, indent)
  local parts = {}
  for i, field in ipairs(FIELDS) do
    local value = record[field]
    local digits = type(value) == "number" and ("%d"):format(value) or value
    parts[i] = ('"%s":%s%s'):format(field, indent and " " or "", digits)
  end
  if not indent then
    return "{" .. table.concat(parts, ",") .. "}"
  end
  return ("{\n%s  %s\n%s}"):format(indent, table.concat(parts, (",\n%s  "):format(indent)), indent)
end

local function record_of(node)
  local record = { used = 0, limit = 0, startsAt = "0", expiresAt = "0", updatedAt = "0" }
  for _, entry in ipairs(node.kind == "map" and node.entries or {}) do
    local value = entry.node.value
    if record[entry.key] ~= nil and type(value) == "number" then
      record[entry.key] = type(record[entry.key]) == "number" and value or ("%.0f"):format(value)
    end
  end
  return record
end

-- Files ------------------------------------------------------------------------------------------

local file = {}
file.__index = file

-- All records of a file.  @return name → record | nil, err (also when it is damaged)
local function read_all(path)
  local handle, err, code = io.open(path, "rb")
  if not handle then
    if code == 2 then -- there is none yet
      return {}
    end
    return nil, failure.new("io", tostring(err))
  end
  local text = handle:read "*a"
  handle:close()
  local root
  root, err = json.parse(text)
  if not root or root.kind ~= "map" then
    return nil, failure.new("config", ("%s: %s"):format(path, root and "no JSON object" or tostring(err)))
  end
  local records = {}
  for _, entry in ipairs(root.entries) do
    records[entry.key] = record_of(entry.node)
  end
  return records
end

local function write_all(path, records)
  local parts = {}
  for i, name in ipairs(sorted(records)) do
    parts[i] = ("  %s: %s"):format(writer.plain_json(name), write(records[name], "  "))
  end
  local handle, err = io.open(path .. ".tmp", "wb")
  if not handle then
    return nil, failure.new("io", tostring(err))
  end
  local ok
  ok, err = handle:write("{\n", table.concat(parts, ",\n"), "\n}")
  ok = handle:close() and ok
  if ok then
    ok, err = os.rename(path .. ".tmp", path)
  end
  return ok and true or nil, not ok and failure.new("io", tostring(err)) or nil
end

function file:load(name)
  local records, err = read_all(self.path)
  if not records then
    return nil, err
  end
  return records[name] or false
end

function file:save(name, record)
  local records = read_all(self.path) or {}
  records[name] = record
  return write_all(self.path, records)
end

-- Redis ------------------------------------------------------------------------------------------

local hash = {}
hash.__index = hash

function hash:load(name)
  local text, err = self.client:call("HGET", self.key, name)
  if err then
    return nil, err
  elseif type(text) ~= "string" then
    return false
  end
  local root = json.parse(text)
  return root and record_of(root) or false
end

function hash:save(name, record)
  local reply, err = self.client:call("HSET", self.key, name, write(record))
  return reply and true or nil, err
end

function hash:close()
  self.client:close()
end

--- @param config the quota's `store`, or nil
-- @return store with load(name) → record | false | nil, err; save(name, record) → true | nil, err; a store that
--   `waits` needs a task for both.  Also: whether its type was known
function M.open(config)
  config = config or {}
  local kind = (config.type or ""):lower()
  if kind == "redis" and config.redis then
    local spec = config.redis
    local client = redis.open {
      addr = spec.addr, db = spec.db, username = spec.username, password = spec.password, connections = 1,
      timeout = (spec.timeout or 0) > 0 and spec.timeout or TIMEOUT,
    }
    local key = spec.key and spec.key ~= "" and spec.key or DEFAULT_KEY
    return setmetatable({ client = client, key = key, waits = true }, hash), true
  end
  local path = config.file and config.file ~= "" and config.file or DEFAULT_FILE
  return setmetatable({ path = path }, file), kind == "" or kind == "file"
end

return M
