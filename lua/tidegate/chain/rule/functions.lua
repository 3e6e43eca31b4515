-- The functions of rules.  Each takes its arguments (texts) and gives a test: function(request) → bool.

local addr = require "tidegate.net.addr"
local json_path = require "tidegate.chain.rule.json_path"
local regex = require "tidegate.native.regex"

local string_find = string.find
local string_lower = string.lower
local string_sub = string.sub

local M = {}

-- Checking arguments ------------------------------------------------------------------------------

-- Refuse the i-th argument.  The caller knows where it is.
local function refuse(i, message, ...)
  error({ argument = i, message = select("#", ...) > 0 and message:format(...) or message }, 0)
end

local function check_ascii(args, i)
  if string_find(args[i], "[\128-\255]") then
    refuse(i, "only ASCII is allowed; write international names in punycode (xn--…)")
  end
end

local function check_path(args)
  if string_sub(args[1], 1, 1) ~= "/" then
    refuse(1, "a path begins with /")
  end
end

local function compile_regex(args, i)
  local re, err = regex.new(args[i])
  if not re then
    refuse(i, "%s", tostring(err))
  end
  return function(text)
    return re:test(text) == true
  end
end

-- Numbers as Go's ParseFloat reads them: no blanks, no 0x without an exponent.
local function to_number(text)
  local lower = string_lower(text)
  local sign, word = lower:match "^([+-]?)(inf%a*)$"
  if word == "inf" or word == "infinity" then
    return sign == "-" and -math.huge or math.huge
  elseif string_find(lower, "^[+-]?0x[%x.]+p[+-]?%d+$") then
    return tonumber((lower:gsub("^%+", "")))
  elseif string_find(lower, "^[+-]?%d+%.?%d*e?[+-]?%d*$") or string_find(lower, "^[+-]?%.%d+e?[+-]?%d*$") then
    return tonumber((lower:gsub("^%+", "")))
  end
end

local COMPARISONS = {
  gt = function(a, b) return a > b end,
  ge = function(a, b) return a >= b end,
  lt = function(a, b) return a < b end,
  le = function(a, b) return a <= b end,
  eq = function(a, b) return a == b end,
  ne = function(a, b) return a ~= b end,
}

-- @return a test of one text
local function comparison(args, i)
  local compare, wanted = COMPARISONS[args[i]], to_number(args[i + 1])
  if not compare then
    refuse(i, "%q is no comparison; gt, ge, lt, le, eq and ne are", args[i])
  elseif not wanted then
    refuse(i + 1, "%q is no number", args[i + 1])
  end
  return function(text)
    local value = to_number(text)
    return value ~= nil and compare(value, wanted)
  end
end

-- Looking at requests -----------------------------------------------------------------------------

-- The host without port, kept beside what it was made of: nodes of a hop ask for it one after the other.
local function host_of(request)
  local host = request.host
  if not host or host == "" then
    return ""
  elseif request.plain_from ~= host then
    request.plain_from = host
    request.plain_host = string_lower(addr.host(host):match "^%s*(.-)%s*$")
  end
  return request.plain_host
end

-- A test of a text becomes one of any of several.
local function any(values, test)
  if type(values) == "string" then
    return test(values)
  end
  for i = 1, #values do
    if test(values[i]) then
      return true
    end
  end
  return false
end

local function always()
  return true
end

local function equal_to(wanted)
  return function(text)
    return text == wanted
  end
end

-- One that looks a key up in a part of the request.
local function keyed(part, key, test)
  return function(request)
    local values = request[part] and request[part][key]
    return values ~= nil and any(values, test)
  end
end

local function header_key(key)
  return string_lower(key)
end

-- Headers have no Host: that is the request's.
local function in_header(key, test)
  key = header_key(key)
  if key == "host" then
    return function()
      return false
    end
  end
  return keyed("header", key, test)
end

local function in_query(key, test)
  return keyed("query", key, test)
end

-- key [, value] and key, comparison, number
local function keyed_function(look)
  return function(args)
    if #args == 3 then
      return look(args[1], comparison(args, 2))
    end
    return look(args[1], #args == 2 and equal_to(args[2]) or always)
  end
end

local function keyed_regex(look)
  return function(args)
    return look(args[1], #args == 2 and compile_regex(args, 2) or always)
  end
end

local function of_field(field, test)
  return function(request)
    local value = request[field]
    return value ~= nil and test(value)
  end
end

-- The functions -----------------------------------------------------------------------------------

--- name → { least, most (arguments), make(args, env) → test, body = looks at bodies }
local functions = {}

local function define(name, least, most, make, body)
  functions[name] = { name = name, least = least, most = most, make = make, body = body }
end

define("ClientIP", 1, 1, function(args)
  local set = addr.ip_set { args[1] }
  local ip, bits = args[1]:match "^([^/]+)/?(%d*)$"
  local bytes = ip and addr.bytes(ip)
  if not bytes or args[1]:find "/$" or bits ~= "" and tonumber(bits) > #bytes * 8 then
    refuse(1, "%q is neither an IP address nor a network", args[1])
  end
  return of_field("client_ip", function(value)
    return value ~= "" and set(value)
  end)
end)

define("Network", 1, 1, function(args)
  local wanted = string_lower(args[1])
  return of_field("network", function(value)
    return string_sub(value, 1, #wanted) == wanted
  end)
end)

define("Proto", 1, 1, function(args)
  return of_field("proto", equal_to(string_lower(args[1])))
end)

define("Host", 1, 1, function(args)
  check_ascii(args, 1)
  local wanted = string_lower(args[1]):gsub("^%*%.?", ".")
  local suffix = string_sub(wanted, 1, 1) == "."
  return function(request)
    local host = host_of(request)
    return host ~= "" and (host == wanted or suffix and string_sub(host, -#wanted) == wanted)
  end
end)

define("HostRegexp", 1, 1, function(args)
  check_ascii(args, 1)
  local test = compile_regex(args, 1)
  return function(request)
    return test(host_of(request))
  end
end)

define("Method", 1, 1, function(args)
  return of_field("method", equal_to(args[1]:upper()))
end)

define("Path", 1, 1, function(args)
  check_path(args)
  return of_field("path", equal_to(args[1]))
end)

define("PathPrefix", 1, 1, function(args)
  check_path(args)
  return of_field("path", function(path)
    return string_sub(path, 1, #args[1]) == args[1]
  end)
end)

define("PathRegexp", 1, 1, function(args)
  return of_field("path", compile_regex(args, 1))
end)

define("Header", 1, 3, keyed_function(in_header))
define("HeaderRegexp", 1, 2, keyed_regex(in_header))
define("Query", 1, 3, keyed_function(in_query))
define("QueryRegexp", 1, 2, keyed_regex(in_query))

local function of_body(test)
  return of_field("body", function(body)
    return body ~= "" and test(body)
  end)
end

define("BodyRegexp", 1, 1, function(args)
  return of_body(compile_regex(args, 1))
end, true)

define("BodyJSON", 2, 3, function(args)
  local path, problem = json_path.compile(args[1])
  if not path then
    refuse(1, "%s", problem)
  end
  local test = #args == 3 and comparison(args, 2) or compile_regex(args, 2)
  return of_body(function(body)
    return test(json_path.get(path, body))
  end)
end, true)

-- Late bound: the object may come, go and change while the rule is in use.
local function object_of(env, list, name)
  local registry = env.registry
  return registry and registry[list] and registry[list][name]
end

define("Bypass", 1, 1, function(args, env)
  return function(request)
    local bypass = object_of(env, "bypasses", args[1])
    return not bypass or not bypass:contains(request.ctx, "tcp", request.host or "")
  end
end)

define("Admission", 1, 1, function(args, env)
  return function(request)
    local ip = request.client_ip
    local admission = object_of(env, "admissions", args[1])
    return admission ~= nil and ip ~= nil and ip ~= ""
      and admission:admits(request.ctx, "ip", ip) == true
  end
end)

-- What scripts define (tg.matcher).
define("Matcher", 1, 1, function(args, env)
  return function(request)
    local matcher = object_of(env, "matchers", args[1])
    return matcher ~= nil and matcher(request) and true or false
  end
end)

-- Finding them ------------------------------------------------------------------------------------

local by_spelling, names = {}, {}
for name, item in pairs(functions) do
  names[#names + 1] = name
  for _, spelling in ipairs {
    name, name:lower(), name:upper(), name:sub(1, 1):upper() .. name:sub(2):lower(),
  } do
    by_spelling[spelling] = item
  end
end
table.sort(names)

--- The names as they are usually written, in order.
M.NAMES = names

--- @return { name, least, most, body } or nil.  Accepted are the usual spelling, all lower, all upper
-- case, and lower case with a capital letter.
function M.find(name)
  return by_spelling[name]
end

--- Make the test of one call.
-- @param env { registry } for the functions that ask policies
-- @return function(request) → bool | nil, { argument = number or nil, message }
function M.make(item, args, env)
  local ok, made = pcall(item.make, args, env)
  if ok then
    return made
  elseif type(made) == "table" and made.message then
    return nil, made
  end
  error(made, 0)
end

return M
