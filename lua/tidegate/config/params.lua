-- The parameters of a -L or -F URL: looked up without case, removed by exact spelling, and what
-- both kinds of URL make of them.

local duration = require "tidegate.config.duration"
local failure = require "tidegate.failure"
local nearest = require "tidegate.config.nearest"
local types = require "tidegate.config.types"
local uri = require "tidegate.config.uri"

local M = {}

local Params = {}
Params.__index = Params

--- Look at a map of parameters.
function M.new(map)
  return setmetatable({ map = map }, Params)
end

function Params:get(...)
  for _, name in ipairs { ... } do
    local wanted, found = name:lower(), nil
    for key, value in pairs(self.map) do
      if key == name then
        found = value
        break
      elseif key:lower() == wanted then
        found = value
      end
    end
    if found ~= nil then
      return found
    end
  end
end

function Params:text(...)
  local value = self:get(...)
  return type(value) == "string" and value or ""
end

function Params:int(...)
  local text = self:text(...)
  return text:find("^[+-]?%d+$") and tonumber(text) or 0
end

function Params:bool(...)
  local text = self:text(...)
  return text == "1" or text == "t" or text == "T" or text == "true" or text == "TRUE"
    or text == "True"
end

function Params:duration(...)
  local text = self:text(...)
  return duration.parse(text) or text:find("^[+-]?%d+$") and tonumber(text) or 0
end

function Params:remove(...)
  for _, name in ipairs { ... } do
    self.map[name] = nil
  end
end

--- @return the items of a comma list, empty ones left out
function M.split_list(text)
  local items = {}
  for item in text:gmatch("[^,]+") do
    items[#items + 1] = item
  end
  return items
end

--- @return the map, or nil if it is empty
function M.or_nil(map)
  return next(map) ~= nil and map or nil
end

--- Copy a value deeply.
function M.copy(value)
  if type(value) ~= "table" then
    return value
  end
  local made = {}
  for key, item in pairs(value) do
    made[key] = M.copy(item)
  end
  return made
end

M.CERT = { "tls.certFile", "certFile", "cert" }
M.KEY = { "tls.keyFile", "keyFile", "key" }
M.CA = { "tls.caFile", "caFile", "ca" }
M.SELECTOR = { "strategy", "maxFails", "max_fails", "failTimeout", "fail_timeout" }

--- Take the selector out of the parameters.  @return selector | nil
function M.read_selector(query)
  local strategy = query:text("strategy")
  local max_fails = query:int("maxFails", "max_fails")
  local fail_timeout = query:duration("failTimeout", "fail_timeout")
  query:remove(unpack(M.SELECTOR))
  if strategy == "" and max_fails <= 0 and fail_timeout <= 0 then
    return nil
  end
  return {
    strategy = strategy ~= "" and strategy or "round",
    maxFails = max_fails > 0 and max_fails or 1,
    failTimeout = fail_timeout > 0 and fail_timeout or 30,
  }
end

local function split_user(text)
  local name, password = text:match("^([^:]*):(.*)$")
  return { username = name or text, password = password ~= "" and password or nil }
end

--- Read userinfo or auth=.  @return auth | nil | nil, err
function M.read_auth(parsed, query)
  local user = parsed.user
  if user then
    if parsed.scheme:find("^ss") and not user.password then
      local decoded = uri.base64(user.username)
      if decoded and decoded:find(":", 1, true) then
        return split_user(decoded)
      end
    end
    if user.username == "" and (user.password or "") == "" then
      return {}
    end
    return {
      username = user.username ~= "" and user.username or nil,
      password = user.password ~= "" and user.password or nil,
    }
  end
  local text = query:text("auth")
  if text == "" then
    return nil
  end
  local decoded = uri.base64(text)
  if not decoded then
    return nil, failure.new("config", "auth is not base64 of user:password")
  end
  return split_user(decoded)
end

--- Read a bypass or an admission: "~" turns it round.
function M.read_rules(text)
  local rules = {}
  if text:sub(1, 1) == "~" then
    rules.whitelist = true
    text = text:sub(2)
  end
  rules.matchers = M.split_list(text)
  return rules
end

--- Read a list of name servers.
function M.read_nameservers(text, prefer)
  local servers = {}
  for _, item in ipairs(M.split_list(text)) do
    servers[#servers + 1] = { addr = item, prefer = prefer ~= "" and prefer or nil }
  end
  return servers
end

--- Read a list of host:ip.
function M.read_mappings(builder, text)
  local mappings = {}
  for _, item in ipairs(M.split_list(text)) do
    local name, ip = item:match("^([^:]*):(.*)$")
    if name then
      mappings[#mappings + 1] = { hostname = name, ip = ip }
    else
      builder:warn(("hosts: %q is no NAME:ADDRESS, it is left out; a file of names is an object of the "
        .. "configuration: hosts: [{name: h, file: {path: %s}}]"):format(item, item))
    end
  end
  return mappings
end

--- Give each map the parameters with its prefix and, unless none, those without a prefix.
function M.distribute(map, sides)
  local made = {}
  for _, side in ipairs(sides) do
    made[side] = {}
  end
  for key, value in pairs(map) do
    local side, rest = key:match("^(%l+)%.(.+)$")
    if not (side and made[side]) then
      for _, target in pairs(made) do
        if target[key] == nil then
          target[key] = M.copy(value)
        end
      end
    else
      made[side][rest] = value
    end
  end
  -- a prefixed parameter wins over one without, in whatever order they came
  for key, value in pairs(map) do
    local side, rest = key:match("^(%l+)%.(.+)$")
    if side and made[side] then
      made[side][rest] = value
    end
  end
  return made
end

local function is_type(builder, kind, name)
  return types[kind][name] or builder.known ~= nil and builder.known(kind, name)
end

-- Say what an unknown part of a scheme is replaced by; gost is silent about it.
local function complain(builder, scheme, part, kind, fallback)
  for _, other in ipairs { "handler", "listener", "connector", "dialer" } do
    if is_type(builder, other, part) then
      builder:warn(("%s in %s:// is no %s; %s is used"):format(part, scheme, kind, fallback))
      return
    end
  end
  builder:warn(("unknown scheme %q%s"):format(part, nearest.hint(part, types[kind])), "error")
end

--- The types a scheme stands for.
-- @param sides { "handler", "listener" } or { "connector", "dialer" }
function M.split_scheme(builder, scheme, sides)
  local left, right = scheme:match("^([^+]*)%+([^+]*)$")
  local single = not left
  left, right = left or scheme, right or scheme
  local fallback = sides[1] == "handler" and "auto" or "http"
  local left_known, right_known = types[sides[1]][left], types[sides[2]][right]
  if not single or not left_known and not right_known then -- looking further loads modules
    left_known = is_type(builder, sides[1], left)
    right_known = is_type(builder, sides[2], right)
  end
  local handler = left_known and left or fallback
  local carrier = right_known and right or handler == "ssu" and "udp" or "tcp"

  if single and not left_known and not right_known and scheme ~= "auto" then
    complain(builder, scheme, scheme, sides[1], fallback)
  elseif not single and not left_known then
    complain(builder, scheme, left, sides[1], fallback)
  end
  if not single and not right_known then
    complain(builder, scheme, right, sides[2], carrier)
  end
  return handler, carrier
end

--- @return whether a scheme has one of these parts
function M.has_part(scheme, parts)
  for part in scheme:gmatch("[^+]+") do
    if parts[part] then
      return true
    end
  end
  return false
end

--- Put auto:// before what has no scheme.
function M.with_scheme(text)
  if text:sub(1, 1) == ":" or not text:find("://", 1, true) then
    return "auto://" .. text
  end
  return text
end

--- https is http over tls.
function M.fix_https(parsed)
  if parsed.scheme == "https" then
    parsed.scheme = "http+tls"
  end
  return parsed
end

return M
