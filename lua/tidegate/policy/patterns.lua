-- Lists of patterns as admissions and bypasses have them: compiled in the control thread, shared by all
-- workers (tidegate.native.match), with regular expressions in each of them.

local failure = require "tidegate.failure"
local log = require "tidegate.process.log"
local match = require "tidegate.native.match"
local regex = require "tidegate.native.regex"

local M = {}
local methods = {}
local mt = { __name = "tidegate.patterns", __index = methods }

local function add_text(sources, text, name)
  if text and text ~= "" then
    sources[#sources + 1] = { text = text, name = name }
  end
end

--- Where the patterns of an object come from.
-- @param config of an admission or a bypass
-- @param loaded what its loaders have read: texts of file and http, items of redis
function M.sources(config, loaded)
  local sources = {}
  if config.matchers and #config.matchers > 0 then
    sources[1] = { items = config.matchers }
  end
  loaded = loaded or {}
  add_text(sources, loaded.file, config.file and config.file.path)
  if loaded.redis then
    sources[#sources + 1] = { items = loaded.redis, name = config.redis and config.redis.key }
  end
  add_text(sources, loaded.http, config.http and config.http.url)
  for _, set in ipairs(config.ruleset or {}) do
    sources[#sources + 1] = { path = set.file, name = set.file, format = set.format ~= "" and set.format or "auto" }
  end
  return sources
end

local function plan(config, sources, clients)
  local mmdb = config.mmdb or {}
  for _, source in ipairs(sources) do
    if source.format and not match.formats[source.format] then
      return nil, failure.new("config", ("unknown format %q of %s"):format(source.format, source.name))
    end
  end
  return { sources = sources, clients = clients, country = mmdb.country, asn = mmdb.asn }
end

local function tell(kind, config, info)
  local fields = { "kind", kind, kind, config.name or "" }
  for _, note in ipairs(info.notes) do
    log.default():log("warn", ("%s %s: %s"):format(kind, config.name or "", note), fields)
  end
  if info.note_count > #info.notes then
    log.default():log("warn", ("%s %s: %d more patterns were left out"):format(kind, config.name or "",
      info.note_count - #info.notes), fields)
  end
  log.default():log("debug", ("%s %s: %d patterns, %d KiB, %d ms"):format(kind, config.name or "",
    info.count, info.bytes / 1024, info.ms), fields)
end

--- Compile in the control thread.  Waits.
-- @param kind word for messages
-- @param sources of sources(); `complete` says that host names have been looked up
-- @param clients only addresses, networks and places
-- @return data for open(), what among clients is no address | nil, err
function M.prepare(kind, config, sources, clients)
  local spec, err = plan(config, sources, clients)
  if not spec then
    return nil, err
  end
  local id, info = match.build(spec)
  if not id then
    return nil, info
  end
  if #info.others == 0 or sources.complete then -- otherwise there is a second time
    tell(kind, config, info)
  end
  local _, bad = M.expressions(info.regexps)
  if bad then
    match.release(id)
    return nil, bad
  end
  return { id = id, regexps = info.regexps, count = info.count }, info.others
end

--- Take back what prepare() made; those who opened it keep it.
function M.release(data)
  match.release(data.id)
end

--- Compile regular expressions.  @return list | nil, err
function M.expressions(texts)
  local made = {}
  for i, text in ipairs(texts or {}) do
    local one, err = regex.new(text)
    if not one then
      return nil, failure.wrap(err):during(("regexp %q"):format(text))
    end
    made[i] = one
  end
  return made
end

--- Open what prepare() made, in a worker.  @return patterns | nil, err
function M.open(data)
  local list, err = match.open(data.id)
  if not list then
    return nil, err
  end
  local made
  made, err = M.expressions(data.regexps)
  if not made then
    return nil, err
  end
  return setmetatable({ list = list, regexps = made, count = data.count }, mt)
end

--- Have the `patterns` of an object be what prepare() made anew.  @return true | nil, err: it keeps those it has
function M.renew(self, data)
  local fresh, err = M.open(data)
  if not fresh then
    return nil, err
  end
  local before = self.patterns
  self.patterns = fresh
  before:close()
  return true
end

--- Compile a few patterns at once, for this VM alone: those of scripts and of URLs.
-- @return patterns | nil, err
function M.compile(config, clients)
  local spec, err = plan(config, M.sources(config), clients)
  if not spec then
    return nil, err
  end
  local list, info = match.compile(spec)
  if not list then
    return nil, info
  end
  local made
  made, err = M.expressions(info.regexps)
  if not made then
    return nil, err
  end
  return setmetatable({ list = list, regexps = made, count = info.count }, mt)
end

-- The host of "host:port", in lower case.
local function host_of(address)
  local host = address:match "^%[(.*)%]" or address:match "^([^:]*):[^:]*$" or address
  return host:lower():gsub("(.)%.$", "%1")
end

--- @return whether an address, "host" or "host:port", is among them
function methods:contains(address)
  if self.list:contains(address) then
    return true
  end
  local regexps = self.regexps
  if not regexps[1] then
    return false
  end
  local host = host_of(address)
  for i = 1, #regexps do
    if regexps[i]:test(host) then
      return true
    end
  end
  return false
end

function methods:close()
  self.list:close()
end

--- What a script's table declares: gost's keys, or a list of patterns alone.
function M.declare(spec)
  local copy = {}
  for key, value in pairs(spec) do
    copy[key] = value
  end
  return spec[1] ~= nil and { matchers = copy } or copy
end

--- Names of objects that `singular` and `plural` of a configuration mention, in order.
function M.names(config, singular, plural)
  local names = {}
  if config[singular] and config[singular] ~= "" then
    names[1] = config[singular]
  end
  for _, name in ipairs(config[plural] or {}) do
    if name ~= "" then
      names[#names + 1] = name
    end
  end
  return names
end

--- Files whose change means that everything is to be prepared again.
function M.files(config)
  local files = {}
  for _, set in ipairs(config.ruleset or {}) do
    files[#files + 1] = set.file
  end
  local mmdb = config.mmdb or {}
  files[#files + 1] = mmdb.country
  files[#files + 1] = mmdb.asn ~= mmdb.country and mmdb.asn or nil
  return files
end

return M
