-- A request of HTTP as rules look at it (tidegate.chain.rule).

local addr = require "tidegate.net.addr"
local head = require "tidegate.net.http.head"
local http1 = require "tidegate.native.http1"

local M = {}

local function set(names, more)
  local out = {}
  for name in (names .. " " .. (more or "")):gmatch "%S+" do
    out[name] = true
  end
  return out
end

local NAMES = "host connection keep-alive upgrade gost-record"

--- Fields that do not go on to targets.
M.DROPPED = set(NAMES)
--- The same where the client was told to go on already.
M.DROPPED_CONTINUED = set(NAMES, "expect")
--- The same where the whole body was read.
M.DROPPED_WHOLE = set(NAMES, "expect content-length transfer-encoding trailer te")

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

local function add(map, key, value)
  local before = map[key]
  if before == nil then
    map[key] = value
  elseif type(before) == "table" then
    before[#before + 1] = value
  else
    map[key] = { before, value }
  end
end

local lazy = {}

function lazy.header(self)
  local map = {}
  for _, field in ipairs(http1.pairs(self.fields)) do
    add(map, field[1]:lower(), field[2])
  end
  return map
end

function lazy.query(self)
  local map = {}
  for item in (self.raw_query or ""):gmatch "[^&]+" do
    local key, value = item:match "^([^=]*)=?(.*)$"
    if not item:find(";", 1, true) then -- as Go's parser: such a pair is none
      add(map, unescape((key:gsub("+", " "))), unescape((value:gsub("+", " "))))
    end
  end
  return map
end

local mt = {}
function mt.__index(self, key)
  local make = lazy[key]
  if make then
    local value = make(self)
    rawset(self, key, value)
    return value
  end
end

-- The client that proxies in front name, as gost believes it.
local function client_of(request, otherwise)
  local named = head.get(request, "cf-connecting-ip")
  if not named or named == "" then
    named = (head.get(request, "x-forwarded-for") or ""):match "^[^,]*"
  end
  if named == "" then
    named = head.get(request, "x-real-ip") or ""
  end
  named = named:match "^%s*(.-)%s*$"
  return addr.is_ip(named) and named or otherwise
end

--- @param client_ip of the connection
function M.describe(ctx, request, client_ip)
  local path, query = request.path:match "^([^?]*)%??(.*)$"
  return setmetatable({
    ctx = ctx,
    proto = "http",
    host = request.address,
    client_ip = client_of(request, client_ip),
    method = request.method,
    path = unescape(path),
    raw_query = query,
    fields = request.fields,
  }, mt)
end

return M
