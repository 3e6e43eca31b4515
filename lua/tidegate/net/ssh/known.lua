-- Known hosts: OpenSSH's file of servers and their keys.

local base64 = require "tidegate.net.http.base64"
local failure = require "tidegate.failure"
local keys = require "tidegate.net.ssh.keys"
local native = require "tidegate.native.ssh"

local M = {}

-- A wildcard pattern as one of Lua's.
local function pattern_of(wildcard)
  local escaped = wildcard:lower():gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0")
  return "^" .. escaped:gsub("%*", ".*"):gsub("%?", ".") .. "$"
end

local function hides(field, name)
  local salt, hash = field:match "^|1|([^|]+)|(.+)$"
  return salt and native.host_hash(base64.decode(salt), name) == base64.decode(hash)
end

-- Does the first field of a line name the host?
local function names(field, name)
  if field:sub(1, 1) == "|" then
    return hides(field, name)
  end
  local found = false
  for item in field:gmatch "[^,]+" do
    local negated, wildcard = item:match "^(!?)(.*)$"
    if name:find(pattern_of(wildcard)) then
      if negated ~= "" then
        return false
      end
      found = true
    end
  end
  return found
end

local function parse(line)
  local marker, rest = line:match "^%s*(@%S+)%s+(.*)$"
  local hosts, kind, key = (rest or line):match "^%s*(%S+)%s+(%S+)%s+([%w+/]+=*)"
  if hosts and hosts:sub(1, 1) ~= "#" then
    return { marker = marker, hosts = hosts, kind = kind, key = key }
  end
end

local function lines_of(text, name)
  local found, number = {}, 0
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    number = number + 1
    local entry = parse(line)
    if entry and names(entry.hosts, name) then
      entry.line = number
      found[#found + 1] = entry
    end
  end
  return found
end

local known = {}
local known_mt = { __name = "tidegate.ssh.known", __index = known }

--- What a file says of a server.
-- @return an object with kinds() and check() | nil, err: it cannot be read
function M.look(path, host, port)
  local text, err = keys.read(path)
  if not text then
    return nil, failure.new("auth", ("%s, where the server's key should be: `ssh-keyscan -p %d %s` prints the line "
      .. "to write there"):format(err.message, port, host))
  end
  host = host:lower()
  local entries = port ~= 22 and lines_of(text, ("[%s]:%d"):format(host, port)) or {}
  if #entries == 0 then -- lines without a port are good for any
    entries = lines_of(text, host)
  end
  return setmetatable({ path = path, host = host, port = port, entries = entries }, known_mt)
end

-- Kinds of signatures that go with a kind of key.
local SIGNATURES = { ["ssh-rsa"] = "rsa-sha2-512,rsa-sha2-256,ssh-rsa" }

--- The kinds of keys that the server is known by, to ask it for one of these.
-- @return by commas, or nil: none
function known:kinds()
  local list, seen = {}, {}
  for _, entry in ipairs(self.entries) do
    if not entry.marker and not seen[entry.kind] then
      seen[entry.kind] = true
      list[#list + 1] = SIGNATURES[entry.kind] or entry.kind
    end
  end
  return #list > 0 and table.concat(list, ",") or nil
end

local function where(self, entry)
  return ("%s:%d"):format(self.path, entry.line)
end

local function scan(self)
  return ("ssh-keyscan -p %d %s"):format(self.port, self.host)
end

local function judge(self, kind, key)
  local same, other, fits
  for _, entry in ipairs(self.entries) do
    if entry.marker == "@revoked" and entry.key == key then
      return ("is revoked by %s: do not use this server until it has another"):format(where(self, entry))
    elseif not entry.marker then
      fits = fits or entry.key == key
      same = same or entry.kind == kind and entry
      other = other or entry
    end
  end
  if fits then
    return nil
  elseif same then
    return ("differs from the one in %s: another server answers, or somebody in between; if its key was changed on "
      .. "purpose, replace that line by what `%s` prints"):format(where(self, same), scan(self))
  elseif other then
    return ("is of a kind that %s does not have for it, only %s; `%s` prints the line to add"):format(
      self.path, other.kind, scan(self))
  end
  return ("is not in %s: when the fingerprint is the server's, add the line that `%s` prints"):format(
    self.path, scan(self))
end

--- Is it the server it should be?
-- @param kind, key, print of what it shows: type, base64, fingerprint
-- @return true | nil, err, which says what to do
function known:check(kind, key, print)
  local why = judge(self, kind, key)
  if not why then
    return true
  end
  return nil, failure.new("auth", ("the server's key (%s %s) %s"):format(kind, print, why))
end

return M
