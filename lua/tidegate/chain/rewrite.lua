-- What a target has done to HTTP: its `http` object, read once.
--
--   auth            { username, password } that clients show, or nil
--   host            replaces Host, or nil
--   request_fields, response_fields   header fields to set and delete (see fields()), or nil
--   urls            list of { re, replacement }
--   request_bodies, response_bodies   lists of rules, see tidegate.chain.rewrite.body; nil when there are none
--   fails           function(status) → bool: answers that mark the target failed; nil: none do

local body = require "tidegate.chain.rewrite.body"
local failure = require "tidegate.failure"
local regex = require "tidegate.native.regex"

local M = {}
local methods = {}
local mt = { __index = methods }

local function is_set(text)
  return text ~= nil and text ~= ""
end

local function config_error(...)
  return failure.new("config", (...):format(select(2, ...)))
end

-- Header fields -----------------------------------------------------------------------------------

local fields_methods = {}
local fields_mt = { __index = fields_methods }

-- @return { lines = text, names = set in lower case, host = value or nil }, nil when nothing is said | nil, err
local function fields(map)
  local names, lines, host = {}, {}, nil
  for name, value in pairs(map or {}) do
    name, value = tostring(name), tostring(value)
    if not name:find "^[%w!#$%%&'*+%-.^_`|~]+$" then
      return nil, config_error("%q is no name of a header field", name)
    elseif value:find "[%z\r\n]" then
      return nil, config_error("the value of header field %s holds a line break", name)
    end
    names[name:lower()] = true
    if name:lower() == "host" then
      host = value
    elseif value ~= "" then
      lines[#lines + 1] = ("%s: %s\r\n"):format(name, value)
    end
  end
  if next(names) == nil then
    return nil
  end
  table.sort(lines)
  return setmetatable({ lines = table.concat(lines), names = names, host = host, unions = {} }, fields_mt)
end

--- The set of fields to leave out: those of `base` and those that are set or deleted here.
function fields_methods:without(base)
  local union = self.unions[base]
  if not union then
    union = {}
    for name in pairs(base) do
      union[name] = true
    end
    for name in pairs(self.names) do
      union[name] = true
    end
    self.unions[base] = union
  end
  return union
end

-- URLs and statuses --------------------------------------------------------------------------------

-- Patterns that make no sense are left out, as gost does; config.web has told.
local function urls(list)
  local out = {}
  for _, item in ipairs(list or {}) do
    local re = regex.new(item.match or "")
    if re then
      out[#out + 1] = { re = re, replacement = item.replacement or "" }
    end
  end
  return out
end

-- "502,5xx" → exact, classes (sets), list of words that are neither
local function read_statuses(text)
  local exact, classes, bad = {}, {}, {}
  for word in (text or ""):gmatch "[^,%s]+" do
    local class = word:lower():match "^([1-9])xx$"
    if class then
      classes[tonumber(class)] = true
    elseif word:find "^[1-9]%d%d$" then
      exact[tonumber(word)] = true
    else
      bad[#bad + 1] = word
    end
  end
  return exact, classes, bad
end

-- @return function(status) → bool, nil when none is named
local function statuses(text)
  local exact, classes = read_statuses(text)
  if next(exact) == nil and next(classes) == nil then
    return nil
  end
  return function(status)
    return exact[status] or classes[math.floor(status / 100)] or false
  end
end

--- @return the words of `failCodes` that are left out
function M.bad_statuses(text)
  return (select(3, read_statuses(text)))
end

local function joined(first, second)
  local out = {}
  for _, list in ipairs { first or {}, second or {} } do
    for _, item in ipairs(list) do
      out[#out + 1] = item
    end
  end
  return out
end

-- The object and its deprecated keys, one step after the other.
local STEPS = {
  request_fields = function(http)
    local map = http.requestHeader
    return fields(map and next(map) ~= nil and map or http.header)
  end,
  response_fields = function(http)
    return fields(http.responseHeader)
  end,
  urls = function(http)
    return urls(#(http.rewriteURL or {}) > 0 and http.rewriteURL or http.rewrite)
  end,
  request_bodies = function(http, registry)
    return body.compile(http.rewriteRequestBody or {}, registry)
  end,
  response_bodies = function(http, registry)
    return body.compile(joined(http.rewriteBody, http.rewriteResponseBody), registry)
  end,
  fails = function(http)
    return statuses(http.failCodes)
  end,
}

--- Read the settings of a target.
-- @param config its object: `http`, and the deprecated `auth`
-- @return settings, or nil when there are none | nil, err
function M.new(config, registry)
  local http = config.http or {}
  local auth = http.auth or config.auth
  if next(http) == nil and not auth then
    return nil
  end
  local self = { host = is_set(http.host) and http.host or nil }
  if auth and is_set(auth.username) then
    self.auth = { username = auth.username, password = auth.password or "" }
  end
  for key, step in pairs(STEPS) do
    local value, err = step(http, registry)
    if err then
      return nil, err:during "http"
    end
    self[key] = value
  end
  return setmetatable(self, mt)
end

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

local function escape(text)
  return (text:gsub("[^%w/:@!$&'()*+,;=~._-]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

--- Change a target of the form "/path?query"; patterns see the path unescaped.  @return the new one
function methods:rewrite_url(target)
  local path, query = target:match "^([^?]*)(.*)$"
  local plain = unescape(path)
  for _, rule in ipairs(self.urls) do
    if rule.re:test(plain) then
      local changed = rule.re:replace(plain, rule.replacement)
      if changed and changed ~= "" then
        local new_path, new_query = changed:match "^([^?]*)(.*)$"
        new_path = new_path:find "^/" and new_path or "/" .. new_path
        new_query = new_query:gsub("[%c%s]", function(char)
          return ("%%%02X"):format(char:byte())
        end)
        return escape(new_path) .. (new_query ~= "" and new_query or query)
      end
    end
  end
  return target
end

return M
