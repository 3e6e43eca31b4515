-- Authorized keys: OpenSSH's file of public keys that may log in, with options in front of them.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local keys = require "tidegate.net.ssh.keys"

local M = {}

local KINDS = { "^ssh%-", "^ecdsa%-sha2%-", "^sk%-" }

local function is_kind(word)
  for _, pattern in ipairs(KINDS) do
    if word and word:find(pattern) then
      return true
    end
  end
  return false
end

-- Options end where a space is that stands in no quotes.  @return them, what follows
local function split_options(line)
  local quoted, i = false, 1
  while i <= #line do
    local c = line:sub(i, i)
    if c == '"' then
      quoted = not quoted
    elseif c == "\\" and line:sub(i + 1, i + 1) == '"' then
      i = i + 1
    elseif not quoted and (c == " " or c == "\t") then
      break
    end
    i = i + 1
  end
  return line:sub(1, i - 1), line:sub(i):match "^%s*(.*)$"
end

local DAY, TIME = "^(%d%d%d%d)(%d%d)(%d%d)(%d*)(Z?)$", "^(%d%d)(%d%d)(%d?%d?)$"

local function moment(text)
  local year, month, day, rest, utc = text:match(DAY)
  local hour, min, sec = "0", "0", "0"
  if rest and rest ~= "" then
    hour, min, sec = rest:match(TIME)
  end
  if not year or not hour then
    return nil
  end
  local fields = {
    year = tonumber(year), month = tonumber(month), day = tonumber(day),
    hour = tonumber(hour), min = tonumber(min), sec = tonumber(sec) or 0,
  }
  local at = os.time(fields)
  if utc ~= "" then
    local clock = os.date("!*t", at)
    clock.isdst = fields.isdst
    at = at + os.difftime(at, os.time(clock))
  end
  return at
end

-- Names of options → what they do with an entry.  @return false: the value makes no sense
local OPTIONS = {
  restrict = function(entry)
    entry.forwards = false
  end,
  ["no-port-forwarding"] = function(entry)
    entry.forwards = false
  end,
  ["port-forwarding"] = function(entry)
    entry.forwards = true
  end,
  ["cert-authority"] = function(entry)
    entry.authority = true
  end,
  from = function(entry, value)
    entry.from = value
    return value ~= nil
  end,
  ["expiry-time"] = function(entry, value)
    entry.expires = moment(value or "")
    return entry.expires ~= nil
  end,
  permitopen = function(entry, value)
    entry.open = entry.open or {}
    entry.open[#entry.open + 1] = value
    return value ~= nil
  end,
  permitlisten = function(entry, value)
    entry.listen = entry.listen or {}
    entry.listen[#entry.listen + 1] = value
    return value ~= nil
  end,
}

-- @return entry | nil, name of the option that makes no sense
local function entry_of(options)
  local entry, rest = { forwards = true }, options
  while rest ~= "" do
    local name, value, after = rest:match '^([%w%-]+)="([^"]*)"(.*)$'
    if not name then
      name, after = rest:match "^([%w%-]+)(.*)$"
    end
    if not name or not (after == "" or after:sub(1, 1) == ",") then
      return nil, rest
    end
    local set = OPTIONS[name:lower()]
    if set and set(entry, value) == false then
      return nil, name
    end
    rest = after:sub(2)
  end
  return entry
end

-- @return base64, entry | nil, why not
local function parse(line)
  local options, rest = "", line
  if not is_kind(line:match "^%S+") then
    options, rest = split_options(line)
  end
  local kind, key = rest:match "^(%S+)%s+([%w+/]+=*)"
  if not key or not is_kind(kind) or not rest:find("^%S+%s+[%w+/]+=*%f[%s%z]") then
    return nil, "not a public key"
  end
  local entry, wrong = entry_of(options:gsub('\\"', "'"))
  if not entry then
    return nil, ("the option %s makes no sense"):format(wrong)
  end
  return key, entry
end

--- The public keys of a file in OpenSSH's format.
-- @return base64 → entry, which permits() and the others look at | nil, err
function M.load(path)
  local text, err = keys.read(path)
  if not text then
    return nil, err
  end
  local found, number = {}, 0
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    number = number + 1
    local trimmed = line:match "^%s*(.-)%s*$"
    if trimmed ~= "" and trimmed:sub(1, 1) ~= "#" then
      local key, entry = parse(trimmed)
      if not key then
        return nil, failure.new("config", ("%s:%d: %s"):format(path, number, entry), { op = "ssh" })
      end
      entry.line = number
      found[key] = not entry.authority and entry or nil
    end
  end
  return found
end

-- A list of addresses, networks and wildcards, "!" before those that are not meant.
local function lists(list, ip)
  local found = false
  for item in list:gmatch "[^,%s]+" do
    local negated, what = item:match "^(!?)(.*)$"
    local fits
    if what:find "[*?]" then
      fits = ip:find("^" .. what:gsub("[%.%+%-%%%[%]%^%$%(%)]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$") ~= nil
    else
      fits = addr.ip_set({ what })(ip)
    end
    if fits and negated ~= "" then
      return false
    end
    found = found or fits
  end
  return found
end

--- May a key be used now, from this address?
-- @return true | nil, why not
function M.permits(entry, ip)
  if entry.expires and os.time() >= entry.expires then
    return nil, "the public key has expired"
  elseif entry.from and not lists(entry.from, ip) then
    return nil, "the public key is not for clients at " .. ip
  end
  return true
end

local function fits(rules, host, port)
  for _, rule in ipairs(rules) do
    local at, number = rule:match "^(.*):([%d*]+)$"
    if not at then
      at, number = "*", rule
    end
    at = at:gsub("^%[(.*)%]$", "%1")
    if (number == "*" or tonumber(number) == port) and (at == "*" or at:lower() == host:lower()) then
      return true
    end
  end
  return false
end

--- May who logged in with a key connect to this target?
function M.may_open(entry, host, port)
  return entry.forwards and (not entry.open or fits(entry.open, host, port))
end

--- May it have us listen there?
function M.may_listen(entry, host, port)
  return entry.forwards and (not entry.listen or fits(entry.listen, host, port))
end

return M
