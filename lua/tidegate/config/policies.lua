-- What can be wrong with policies: objects that could not be built are errors; what is read and then has
-- no effect, as gost passes over it in silence, is a warning.

local addr = require "tidegate.net.addr"
local duration = require "tidegate.config.duration"
local dns = require "tidegate.net.dns.address"
local keys = require "tidegate.policy.limit.keys"
local match = require "tidegate.native.match"
local nearest = require "tidegate.config.nearest"
local units = require "tidegate.policy.limit.units"
local url = require "tidegate.net.http.url"
local uv = require "luv"
local window = require "tidegate.policy.quota.window"

local M = {}

local MANY = 2000 -- patterns that are looked at one by one

local function is_empty(text)
  return text == nil or text == ""
end

-- One word of several; nil and "" are the default.
local function word(report, object, key, path, known, instead)
  local value = object[key]
  if is_empty(value) then
    return
  end
  for _, name in ipairs(known) do
    if value:lower() == name then
      return
    end
  end
  report:warning(object, key, path, "unknown %s %q, %s%s", key, value, instead, nearest.hint(value, known))
end

-- Sources and plugins ----------------------------------------------------------------------------

local function check_url(report, object, key, path)
  local _, err = url.parse(object[key] or "")
  if err then
    report:warning(object, key, path, "%s", err.message)
  end
end

local function check_plugin(report, plugin, path)
  if is_empty(plugin.addr) then
    report:error(plugin, nil, path, "a plugin needs an address")
  elseif (plugin.type or ""):lower() == "http" then
    local text = plugin.addr
    local _, err = url.parse(text:find "^%a[%w+.-]*://" and text or "http://" .. text)
    if err then
      report:error(plugin, "addr", path, "%s", err.message)
    end
  end
  word(report, plugin, "type", path, { "http", "grpc" }, "grpc is used")
end

-- @param types other than the default that `redis.type` may say
local function check_sources(report, object, path, types)
  if object.plugin then
    check_plugin(report, object.plugin, path .. ".plugin")
  end
  if object.http then
    check_url(report, object.http, "url", path .. ".http")
  end
  if object.file and is_empty(object.file.path) then
    report:warning(object.file, nil, path .. ".file", "a file needs a path")
  end
  if object.redis and is_empty(object.redis.addr) then
    report:warning(object.redis, nil, path .. ".redis", "Redis needs an address")
  end
  if object.redis and types then
    word(report, object.redis, "type", path .. ".redis", types, types[1] .. " is used")
  end
end

-- Patterns ---------------------------------------------------------------------------------------

-- What is in no host name, network, range or pattern.
local STRANGE = "[%s()/|^$@#=<>\"';]"

local function check_pattern(report, list, i, path, clients)
  local text = list[i]
  if not text:find "[^%w._-]" then
    return
  end
  local made, info = match.compile { sources = { { items = { text } } }, clients = clients }
  if not made then
    return -- about files of places, which is looked at for all together
  end
  for _, note in ipairs(info.notes) do
    report:warning(list, i, path, "%s", note)
  end
  made:close()
  local is_name = clients and #info.others > 0
  if is_name and text:find "[%s/*?,]" then
    report:warning(list, i, path, "%q is no address and no network; taken for a host name", text)
  elseif not clients and #info.notes == 0 and info.nets == 0 and info.ranges == 0 and text:find(STRANGE) then
    report:warning(list, i, path, "%q is no host, pattern or network: it never matches", text)
  end
end

local function check_file(report, object, key, path)
  local name = object[key]
  local stat, err = uv.fs_stat(name)
  if not stat then
    report:error(object, key, path, "%s", tostring(err):gsub("^%w+: ", "", 1))
  elseif stat.type == "directory" then
    report:error(object, key, path, "%s is a directory", name)
  end
end

local function check_places(report, object, path)
  local mmdb = object.mmdb or {}
  for _, key in ipairs { "country", "asn" } do
    if not is_empty(mmdb[key]) then
      check_file(report, mmdb, key, path .. ".mmdb")
    end
  end
  for i, text in ipairs(object.matchers or {}) do
    local name = text:lower():match "^(%a+):"
    local key = name == "geoip" and "country" or name == "asn" and "asn" or nil
    if key and is_empty(mmdb[key]) and text:lower() ~= "geoip:private" then
      report:error(object.matchers, i, path .. ".matchers", "%s: patterns need the file of mmdb.%s", name, key)
    end
  end
end

local function check_patterns(report, object, path, clients)
  check_sources(report, object, path)
  check_places(report, object, path)
  local list = object.matchers or {}
  for i = 1, #list <= MANY and #list or 0 do
    check_pattern(report, list, i, path .. ".matchers", clients)
  end
end

local checks = {}

function checks.admissions(report, object, path)
  check_patterns(report, object, path, true)
end

local RULES = { "auto", "plain", "dnsmasq", "hosts", "v2ray", "clash", "adblock", "patterns" }

local function check_ruleset(report, set, path)
  if is_empty(set.file) then
    report:error(set, nil, path, "a rule set needs a file")
    return
  end
  for _, known in ipairs(RULES) do
    if is_empty(set.format) or set.format == known then
      return check_file(report, set, "file", path)
    end
  end
  report:error(set, "format", path, "unknown format %q%s", set.format, nearest.hint(set.format, RULES))
end

function checks.bypasses(report, object, path)
  check_patterns(report, object, path, false)
  for i, set in ipairs(object.ruleset or {}) do
    check_ruleset(report, set, ("%s.ruleset[%d]"):format(path, i - 1))
  end
end

-- Users, names and routes ------------------------------------------------------------------------

function checks.authers(report, object, path)
  check_sources(report, object, path)
  for i, item in ipairs(object.auths or {}) do
    if is_empty(item.username) then
      report:warning(item, nil, ("%s.auths[%d]"):format(path, i - 1), "without a username it is left out")
    end
  end
end

local FAMILIES = { "ip4", "ipv4", "ip6", "ipv6" }

local function check_nameserver(report, server, path)
  if is_empty(server.addr) then
    report:warning(server, nil, path, "without an address it is left out")
    return
  end
  local at, err = dns.parse(server.addr)
  if not at then
    report:warning(server, "addr", path, "%s; it is left out", err.message)
  elseif at.unknown then
    report:warning(server, "addr", path, "%s:// is unknown, it is asked by UDP", at.unknown)
  end
  if not is_empty(server.clientIP) and not addr.is_ip(server.clientIP) then
    report:warning(server, "clientIP", path, "%q is no IP address; the server is left out", server.clientIP)
  end
  word(report, server, "only", path, FAMILIES, "both families are asked for")
  word(report, server, "prefer", path, { "ipv4", "ipv6", "ip4" }, "ipv4 is used")
end

function checks.resolvers(report, object, path)
  check_sources(report, object, path)
  for i, server in ipairs(object.nameservers or {}) do
    check_nameserver(report, server, ("%s.nameservers[%d]"):format(path, i - 1))
  end
end

function checks.hosts(report, object, path)
  check_sources(report, object, path, { "set", "list" })
  for i, item in ipairs(object.mappings or {}) do
    local place = ("%s.mappings[%d]"):format(path, i - 1)
    if is_empty(item.ip) or not addr.is_ip(item.ip) then
      report:warning(item, "ip", place, "%q is no IP address; left out", item.ip or "")
    elseif is_empty(item.hostname) then
      report:warning(item, nil, place, "without a hostname it is left out")
    end
  end
end

function checks.ingresses(report, object, path)
  check_sources(report, object, path, { "hash", "set" })
  for i, item in ipairs(object.rules or {}) do
    if is_empty(item.hostname) or is_empty(item.endpoint) then
      report:warning(item, nil, ("%s.rules[%d]"):format(path, i - 1),
        "without a hostname and an endpoint it is left out")
    end
  end
end

function checks.routers(report, object, path)
  check_sources(report, object, path, { "hash", "list", "set" })
  for i, item in ipairs(object.routes or {}) do
    if is_empty(item.dst) and is_empty(item.net) or is_empty(item.gateway) then
      report:warning(item, nil, ("%s.routes[%d]"):format(path, i - 1), "without dst and gateway it is left out")
    end
  end
end

-- Limits -----------------------------------------------------------------------------------------

-- @param wrong function(words) → what is wrong with the line, or nil
local function check_limits(report, object, path, wrong)
  check_sources(report, object, path, { "set", "list" })
  for i, line in ipairs(object.limits or {}) do
    local words = {}
    for text in line:gmatch "%S+" do
      words[#words + 1] = text
    end
    local why = #words < 2 and "a key and a limit are needed" or wrong(words)
    if why then
      report:warning(object.limits, i, path .. ".limits", "%q: %s", line:match "^%s*(.-)%s*$", why)
    end
  end
end

local function is_key(text)
  return keys.new():set(text, true)
end

function checks.limiters(report, object, path)
  check_limits(report, object, path, function(words)
    for i = 2, math.min(#words, 4) do
      if not select(2, units.limit(words[i])) then
        return ("%q is no amount of bytes: no limit"):format(words[i])
      end
    end
    -- any other key is a user, but networks do not look like one
    return words[1]:find "/" and not is_key(words[1]) and ("%q is no network"):format(words[1]) or nil
  end)
end

function checks.climiters(report, object, path)
  check_limits(report, object, path, function(words)
    if not is_key(words[1]) then
      return ("%q is no $, $$, address or network: left out"):format(words[1])
    end
    local n = words[2]:match "^[+-]?%d+$" and tonumber(words[2])
    return not (n and n > 0) and ("%q is no number of connections: left out"):format(words[2]) or nil
  end)
end

function checks.rlimiters(report, object, path)
  check_limits(report, object, path, function(words)
    if not is_key(words[1]) then
      return ("%q is no $, $$, address or network: left out"):format(words[1])
    end
    local rate = tonumber(words[2])
    return not (rate and rate > 0) and ("%q is no rate: left out"):format(words[2]) or nil
  end)
end

function checks.quotas(report, object, path)
  if not is_empty(object.limit) and not select(2, units.limit(object.limit)) then
    report:warning(object, "limit", path, "%q is no amount of bytes: counting only", object.limit)
  end
  for _, key in ipairs { "startsAt", "expiresAt" } do
    if not is_empty(object[key]) and not window.parse(object[key]) then
      report:warning(object, key, path, "%q is no time of RFC 3339", object[key])
    end
  end
  local every = not is_empty(object.flush) and (duration.parse(object.flush) or 0)
  if every and every <= 0 then
    report:warning(object, "flush", path, "%q is no duration: 10s is used", object.flush)
  end
  word(report, object, "direction", path, { "in", "out", "both" }, "both are counted")
  if object.store then
    word(report, object.store, "type", path .. ".store", { "file", "redis" }, "file is used")
  end
end

-- Where things go --------------------------------------------------------------------------------

-- What can be recorded.
local RECORDS = {
  "recorder.service.handler", "recorder.service.client.address", "recorder.service.router.dial.address",
  "recorder.service.router.dial.address.error", "recorder.service.handler.serial", "recorder.service.handler.tunnel",
}

--- What a service says about its policies.
function M.service(report, service, path)
  for i, use in ipairs(service.recorders or {}) do
    local place = ("%s.recorders[%d]"):format(path, i - 1)
    if is_empty(use.record) then
      report:warning(use, nil, place, "without `record` nothing is recorded; %s is what a connection was",
        RECORDS[1])
    else
      word(report, use, "record", place, RECORDS, "nothing is recorded")
    end
  end
end

function checks.recorders(report, object, path)
  if object.plugin then
    check_plugin(report, object.plugin, path .. ".plugin")
  elseif object.file then
    if is_empty(object.file.path) then
      report:error(object.file, nil, path .. ".file", "a file needs a path")
    end
  elseif object.tcp then
    if not select(2, addr.split(object.tcp.addr or "")) then
      report:error(object.tcp, "addr", path .. ".tcp", "an address with a port is needed")
    end
  elseif object.http then
    if is_empty(object.http.url) then
      report:error(object.http, nil, path .. ".http", "a URL is needed")
    elseif object.http.url:lower():find "^http" then
      check_url(report, object.http, "url", path .. ".http")
    end
  elseif object.redis then
    if is_empty(object.redis.key) then
      report:error(object.redis, nil, path .. ".redis", "a key is needed")
    end
    if is_empty(object.redis.addr) then
      report:warning(object.redis, nil, path .. ".redis", "Redis needs an address")
    end
    word(report, object.redis, "type", path .. ".redis", { "set", "list", "sset" }, "set is used")
  else
    report:warning(object, nil, path, "without file, tcp, http, redis or plugin it records nothing")
  end
end

function checks.caches(report, object, path)
  if object.memory then
    word(report, object.memory, "eviction", path .. ".memory", { "oldest", "lru" }, "oldest is used")
  elseif not object.redis then
    report:warning(object, nil, path, "without memory or redis it keeps nothing")
  end
end

for list, effect in pairs { observers = "nobody is told anything", rewriters = "nothing is changed" } do
  checks[list] = function(report, object, path)
    if object.plugin then
      check_plugin(report, object.plugin, path .. ".plugin")
    else
      report:warning(object, nil, path, "without a plugin %s", effect)
    end
  end
end

function checks.sds(report, object, path)
  check_sources(report, object, path)
end

--- Check a hop's sources.
function M.hop(report, hop, path)
  check_sources(report, hop, path, { "string" })
end

--- Check all policies of a configuration; those of scripts are as the scripts want them.
-- @param report see tidegate.config.report
function M.check(config, report)
  for list, check in pairs(checks) do
    for i, object in ipairs(config[list] or {}) do
      if not object.scripted then
        local before = report.origin
        report.origin = report.marks[object] or before
        check(report, object, ("%s[%d]"):format(list, i - 1))
        report.origin = before
      end
    end
  end
end

return M
