-- Everything that can be found wrong before a configuration is applied, all at once.

local addresses = require "tidegate.config.addresses"
local component = require "tidegate.component"
local keys = require "tidegate.config.keys"
local metadata = require "tidegate.metadata"
local nearest = require "tidegate.config.nearest"
local policies = require "tidegate.config.policies"
local readers = require "tidegate.config.readers"
local references = require "tidegate.config.references"
local reports = require "tidegate.config.report"
local selection = require "tidegate.config.selection"
local tls = require "tidegate.config.tls"
local types = require "tidegate.config.types"
local web = require "tidegate.config.web"

local validate = {}

local methods = {}
local mt = { __index = methods }

-- Types and their metadata ------------------------------------------------------------------------

local function known_text(kind)
  local names = component.known(kind)
  return #names > 0 and ("; known here: %s"):format(table.concat(names, " ")) or ""
end

-- @return the component | nil when there is none, which is reported
function methods:component(kind, part, default, path)
  local name = part.type
  if not name or name == "" then
    name = default
  end
  local found, err = component.find(kind, name)
  if found then
    return found
  elseif err then
    self.report:error(part, "type", path, "%s %q does not load: %s", kind, name, tostring(err))
  elseif self.incomplete then
    return
  elseif types[kind][name] then
    self.report:error(part, "type", path, "`%s` %s: not in this version of tidegate yet%s", name,
      kind, known_text(kind))
  else
    self.report:error(part, "type", path, "unknown %s %q%s%s", kind, name,
      nearest.hint(name, component.known(kind)), known_text(kind))
  end
end

local function schema_keys(schema)
  local names = {}
  for key, spec in pairs(schema) do
    names[#names + 1] = key
    for _, alias in ipairs(spec.aliases or {}) do
      names[#names + 1] = alias
    end
  end
  return names
end

-- One object's metadata.  `side` is "handler", "service", …; `others` are schemas of objects beside
-- it: a parameter of a URL goes to all of them, so it is fine when one of them knows it.
function methods:metadata(side, schema, map, path, others)
  if type(map) ~= "table" then
    return
  end
  local _, problems, unknown = metadata.parse(schema, map)
  for _, item in ipairs(problems) do
    if not self.from_url then
      self.report:warning(map, item.key, path, item.message)
    elseif not self.complained[item.key] then
      self.complained[item.key] = true
      self.report:warning(map, item.key, path, item.message)
    end
  end
  for _, key in ipairs(unknown) do
    local known = side == "handler" and metadata.has_key(keys.handler, key)
    local copy = self.from_url and readers.LIFTED[key]
    for _, other in ipairs(self.from_url and others or {}) do
      copy = copy or metadata.has_key(other, key)
    end
    if copy and not known then
      self.on_copy(map, key)
    elseif not known and not self.complained[key] then
      self.complained[key] = self.from_url or nil
      self.report:warning(map, key, path, "unknown key%s", nearest.hint(key, schema_keys(schema)))
    end
  end
end

function methods:auth(auth, path)
  if auth then
    tls.file(self.report, auth, "file", path, "file")
    if (auth.username or "") == "" and (auth.password or "") ~= "" then
      self.report:warning(auth, nil, path, "without a username it has no effect")
    end
  end
end

-- Hops and nodes ----------------------------------------------------------------------------------

function methods:selector(selector, path)
  selection.selector(self.report, selector, path, { scripted = self.scripted })
end

function methods:group(group, list, path)
  selection.group(self.report, group, list, path, { scripted = self.scripted })
end

function methods:part(kind, node, default, path)
  local part = node[kind] or {}
  if not node[kind] then
    self.report.marks[part] = self.report.marks[node]
  end
  local found = self:component(kind, part, default, path .. "." .. kind)
  tls.check(self.report, part.tls, path .. "." .. kind .. ".tls")
  self:auth(part.auth, path .. "." .. kind .. ".auth")
  return found, part
end

function methods:node(node, path, hop_schema)
  self.complained = {}
  selection.conditions(self.report, node, path)
  web.check(self.report, node, path)
  local connector, connector_part = self:part("connector", node, "http", path)
  local dialer, dialer_part = self:part("dialer", node, "tcp", path)
  local schemas = { keys.node, hop_schema }
  schemas[#schemas + 1] = connector and connector.metadata
  schemas[#schemas + 1] = dialer and dialer.metadata
  if connector and dialer then
    self:metadata("connector", connector.metadata, connector_part.metadata,
      path .. ".connector.metadata", schemas)
    self:metadata("dialer", dialer.metadata, dialer_part.metadata, path .. ".dialer.metadata",
      schemas)
    self:metadata("node", keys.node, node.metadata, path .. ".metadata", schemas)
  end

  local addr, kind = node.addr or "", dialer_part.type or "tcp"
  if addresses.NO_PORT[kind] or addresses.NO_PORT[connector_part.type or "http"] then
    return
  elseif addr == "" then
    self.report:error(node, nil, path, "a node needs an address")
  else
    addresses.dialed(self.report, node, path)
  end
end

-- Failures and figures of nodes are known by their names.
function methods:node_names(hop, path)
  local seen = {}
  for i, node in ipairs(hop.nodes or {}) do
    local name = node.name or ""
    if seen[name] and name ~= "" then
      self.report:warning(node, "name", ("%s.nodes[%d]"):format(path, i - 1),
        "the hop has two nodes %q: when one fails, both count as failed", name)
    end
    seen[name] = true
  end
end

function methods:hop(hop, path)
  self:with_origin(hop, function()
    self:selector(hop.selector, path .. ".selector")
    policies.hop(self.report, hop, path)
    self:node_names(hop, path)
    if not (hop.nodes and hop.nodes[1] or hop.file or hop.redis or hop.http or hop.plugin) then
      self.report:warning(hop, nil, path, "has no nodes: ways end before it, and are direct if it is the first")
    end
    for i, node in ipairs(hop.nodes or {}) do
      self:node(node, ("%s.nodes[%d]"):format(path, i - 1), keys.hop)
    end
    if not self.from_url then
      self.complained = {}
      self:metadata("hop", keys.hop, hop.metadata, path .. ".metadata")
      return
    end
    local _, _, unknown = metadata.parse(keys.hop, hop.metadata or {}) -- its nodes have complained
    for _, key in ipairs(unknown) do
      self.on_copy(hop.metadata, key)
    end
  end)
end

-- Services ----------------------------------------------------------------------------------------

-- Types that carry no TLS whatever certificate they are given.
local PLAINTEXT = {}
for name in ("tcp udp ws mws redirect tproxy rtcp rudp unix runix serial stdio"):gmatch("%S+") do
  PLAINTEXT[name] = true
end

local function lookup(map, name)
  for key, value in pairs(type(map) == "table" and map or {}) do
    if key:lower() == name then
      return value
    end
  end
end

function methods:service_metadata(service, handler, listener, path)
  local schemas = { keys.service, keys.handler, handler.metadata, listener.metadata }
  local parts = {
    { "handler", handler.metadata, service.handler, "handler.metadata" },
    { "listener", listener.metadata, service.listener, "listener.metadata" },
    { "service", keys.service, service, "metadata" },
  }
  for _, item in ipairs(parts) do
    self:metadata(item[1], item[2], item[3] and item[3].metadata, path .. "." .. item[4], schemas)
  end
end

local FORWARDS = { tcp = true, udp = true, forward = true, rtcp = true, rudp = true, runix = true }
local TARGETS = "no connection gets anywhere: name targets, as in "
  .. '`forwarder: {nodes: [{name: a, addr: "host:port"}]}` or, as a URL, tcp://:8080/host:port'

local function is_empty(hop)
  return #(hop.nodes or {}) == 0 and not (hop.file or hop.redis or hop.http or hop.plugin)
end

-- Services that forward, and whose forwarder leads nowhere.
function methods:targets(service, path)
  local kind = service.handler and service.handler.type or ""
  local forwarder = service.forwarder
  if not (FORWARDS[kind] or forwarder and (kind == "unix" or kind == "relay")) then
    return
  elseif not forwarder then
    return self.report:warning(service, nil, path, "no forwarder; %s", TARGETS)
  end
  local name = forwarder.hop and forwarder.hop ~= "" and forwarder.hop or forwarder.name
  if #(forwarder.hopGroup and forwarder.hopGroup.hops or {}) > 0 then
    return
  elseif not name or name == "" then
    if #(forwarder.nodes or {}) == 0 then
      self.report:warning(forwarder, nil, path .. ".forwarder", "no nodes and no hop; %s", TARGETS)
    end
    return
  end
  for _, hop in ipairs(self.hops or {}) do
    if hop.name == name and is_empty(hop) then
      self.report:warning(forwarder, nil, path .. ".forwarder", "hop %q has no nodes, nor where they come from; no "
        .. "connection gets anywhere", name)
    end
  end
end

function methods:forwarder(forwarder, path)
  if not forwarder then
    return
  end
  self:selector(forwarder.selector, path .. ".selector")
  self:group(forwarder.hopGroup, "hops", path .. ".hopGroup")
  for i, node in ipairs(forwarder.nodes or {}) do
    local addr = node.addr or ""
    local place = ("%s.nodes[%d]"):format(path, i - 1)
    selection.conditions(self.report, node, place)
    web.check(self.report, node, place)
    if addr == "" then
      self.report:error(node, nil, place, "a target needs an address")
    elseif node.network ~= "unix" and not addr:find("://", 1, true) and not addr:find("^/")
      and self.listener_type ~= "unix" and self.listener_type ~= "serial" then
      addresses.dialed(self.report, node, place)
    end
    self.complained = {}
    self:metadata("node", keys.forward_node, node.metadata, place .. ".metadata")
  end
end

function methods:service(service, path)
  self.complained = {}
  local listener_part = service.listener or {}
  local handler_part = service.handler or {}
  for _, part in ipairs { listener_part, handler_part } do
    self.report.marks[part] = self.report.marks[part] or self.report.marks[service]
  end
  local listener = self:component("listener", listener_part, "tcp", path .. ".listener")
  local handler = self:component("handler", handler_part, "auto", path .. ".handler")
  local kind = listener_part.type
  kind = kind and kind ~= "" and kind or "tcp"
  self.listener_type = kind

  addresses.service(self.report, service, kind, path)
  addresses.shared(self.report, service, kind, path, self.addresses)
  if listener and handler then
    self:service_metadata(service, handler, listener, path)
  end
  tls.check(self.report, listener_part.tls, path .. ".listener.tls")
  tls.check(self.report, handler_part.tls, path .. ".handler.tls")
  self:auth(listener_part.auth, path .. ".listener.auth")
  self:auth(handler_part.auth, path .. ".handler.auth")
  local unused = listener_part.tls
  if PLAINTEXT[kind] and unused and (unused.certFile or unused.keyFile) then
    self.report:warning(unused, nil, path .. ".listener.tls",
      "the %s listener does no TLS: the certificate is not used", kind)
  end
  local auth = handler_part.auth
  if lookup(handler_part.metadata, "skipauth")
    and not (handler_part.auther or handler_part.authers or auth and auth.username) then
    self.report:warning(handler_part, "metadata", path .. ".handler",
      "skipauth has no effect: nobody has to log in")
  end
  self:group(handler_part.chainGroup, "chains", path .. ".handler.chainGroup")
  self:group(listener_part.chainGroup, "chains", path .. ".listener.chainGroup")
  self:forwarder(service.forwarder, path .. ".forwarder")
  self:targets(service, path)
  policies.service(self.report, service, path)
end

-- The rest ----------------------------------------------------------------------------------------

local LEVELS = { "trace", "debug", "info", "warn", "error", "fatal" }

local function is_one_of(value, list)
  for _, item in ipairs(list) do
    if item == value then
      return true
    end
  end
  return value == nil or value == ""
end

function methods:log(log, path)
  if not log then
    return
  end
  for key, list in pairs { level = LEVELS, format = { "text", "json" } } do
    if not is_one_of(log[key], list) then
      self.report:warning(log, key, path, "unknown %s %q, %s is used%s", key, log[key],
        key == "level" and "info" or "json", nearest.hint(log[key], list))
    end
  end
end

-- Run `fn` while problems of tables without a mark are told to be where `object` is.
function methods:with_origin(object, fn)
  local before, from_url = self.report.origin, self.from_url
  self.report.origin = self.report.marks[object] or before
  self.from_url = self.report.origin ~= nil and self.report.origin.cli or false
  fn()
  self.report.origin, self.from_url = before, from_url
end

-- What scripts define for selectors; nil when they were not run, and nobody knows.
local function scripted_names(config, ask)
  if not config.scripts then
    return { strategies = {}, filters = {} }
  end
  return ask and ask(config.scripts)
end

--- Find all that is wrong with a configuration.
-- @param marks from the reader; may be nil
-- @param options nil or { missing = "warning": references may lead nowhere, scripted = function(list of
--   paths) → what those scripts define: { strategies, filters, … by name }, incomplete = a script did not
--   load: say nothing of what may be missing for that reason, on_copy = function(metadata, key) that is told of
--   parameters of URLs which another part of the object reads }
-- @return list of problems, see tidegate.config.problem
function validate.check(config, marks, options)
  options = options or {}
  local report = reports.new(marks)
  local self = setmetatable({
    report = report,
    addresses = {},
    complained = {},
    hops = config.hops,
    on_copy = options.on_copy or function() end,
    incomplete = options.incomplete,
    scripted = not options.incomplete and scripted_names(config, options.scripted) or nil,
  }, mt)
  references.check(config, report, options)
  for i, service in ipairs(config.services or {}) do
    self:with_origin(service, function()
      self:service(service, ("services[%d]"):format(i - 1))
    end)
  end
  policies.check(config, report)
  for i, hop in ipairs(config.hops or {}) do
    self:hop(hop, ("hops[%d]"):format(i - 1))
  end
  for i, chain in ipairs(config.chains or {}) do
    if not chain.scripted and not (chain.hops and chain.hops[1]) then
      report:warning(chain, nil, ("chains[%d]"):format(i - 1), "has no hops: connections are direct")
    end
    for j, hop in ipairs(chain.hops or {}) do
      if hop.nodes or hop.file or hop.redis or hop.http or hop.plugin then
        self:hop(hop, ("chains[%d].hops[%d]"):format(i - 1, j - 1))
      end
    end
  end
  self:log(config.log, "log")
  for i, logger in ipairs(config.loggers or {}) do
    self:log(logger.log, ("loggers[%d].log"):format(i - 1))
  end
  tls.check(report, config.tls, "tls")
  addresses.admin(report, config, self.addresses)
  return report.problems
end

return validate
