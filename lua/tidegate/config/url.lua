-- -L and -F to a configuration, as gost maps them.

local node_url = require "tidegate.config.node_url"
local params = require "tidegate.config.params"
local service_url = require "tidegate.config.service_url"

local url = {}

-- A builder keeps the counters of generated names.
local methods = {}
local mt = { __name = "tidegate.config.url", __index = methods }

function methods:generated(list, prefix, object)
  local items = self.config[list] or {}
  self.config[list] = items
  object.name = ("%s-%d"):format(prefix, #items)
  items[#items + 1] = object
  self.made[#self.made + 1] = object
  return object.name
end

--- Report something that starting minds but printing (-O) does not.
function methods:warn(message, severity)
  self.problems[#self.problems + 1] = {
    file = self.place, message = message, severity = severity or "warning", late = true,
  }
end

--- Hide the password of a URL in messages.
function url.redact(text)
  return (text:gsub("://[^/?@]*@", "://***@"):gsub("^[^/?@:]*:[^/?@]*@", "***@")
    :gsub("([?&]auth=)[^&]*", "%1***"))
end

--- Build the configuration of all -L and -F.
-- @param services list of -L values, @param nodes list of -F values
-- @param options { id = value of _GOST_ID, known = function(kind, name) → whether there is such a
--   component besides gost's, marks = table to fill }
-- @return configuration, list of problems
function url.build(services, nodes, options)
  options = options or {}
  local config, problems = {}, {}
  local self = setmetatable({
    config = config,
    known = options.known,
    prefix = options.id and options.id ~= "" and ("go-%s@"):format(options.id) or "",
    services = 0,
    has_chain = #nodes > 0,
    made = {},
    problems = problems,
  }, mt)

  local function add(flag, method, text)
    local first = #self.made + 1
    local place = ("%s %s"):format(flag, url.redact(text))
    self.place = place
    local ok, err = method(self, text)
    if not ok then
      problems[#problems + 1] = { file = place, message = tostring(err), severity = "error" }
    end
    for i = first, options.marks and #self.made or 0 do
      options.marks[self.made[i]] = { file = place, lines = {}, cli = true }
    end
  end

  if self.has_chain then
    config.chains = { { name = "chain-0", hops = {} } }
  end
  for _, text in ipairs(nodes) do
    add("-F", node_url.add, text)
  end
  for _, text in ipairs(services) do
    add("-L", service_url.add, text)
  end
  return config, problems
end

--- Read -api or -metrics: an address or URL.
-- @param fields name of query parameter → type ("string" or "bool")
function url.endpoint(text, fields)
  local parsed = node_url.normalize(text)
  if not parsed then
    return { addr = text }
  end
  local query = params.new(parsed.query)
  local made = { addr = parsed.host }
  if parsed.user and (parsed.user.username ~= "" or parsed.user.password) then
    made.auth = { username = parsed.user.username, password = parsed.user.password }
  end
  for name, kind in pairs(fields) do
    local value = kind == "bool" and query:bool(name) or kind ~= "bool" and query:text(name)
    if value and value ~= "" then
      made[name] = value
    end
  end
  return made
end

return url
