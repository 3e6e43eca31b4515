-- Names: each once, each reference to something that is there, no circles.
--
-- gost lets a missing object pass in silence, and what then happens is rarely meant: a missing
-- auther lets everybody in, a missing chain connects directly.  Here a missing object is an error;
-- only a missing logger, where the default logger takes over, is a warning.

local component = require "tidegate.component"
local metadata = require "tidegate.metadata"
local nearest = require "tidegate.config.nearest"
local schema = require "tidegate.config.schema"

local references = {}

local SINGULAR = {
  services = "service", chains = "chain", hops = "hop", authers = "auther",
  admissions = "admission", bypasses = "bypass", resolvers = "resolver", hosts = "hosts",
  ingresses = "ingress", routers = "router", sds = "sd", recorders = "recorder",
  rewriters = "rewriter", caches = "cache", limiters = "limiter", quotas = "quota",
  climiters = "climiter", rlimiters = "rlimiter", observers = "observer", loggers = "logger",
}

local methods = {}
local mt = { __index = methods }

local function names_of(list)
  local names = {}
  for _, item in ipairs(list or {}) do
    names[#names + 1] = item.name
  end
  return names
end

-- Lists whose objects are all named, once.
local function check_names(config, report)
  local index = {}
  for _, list in ipairs(schema.LISTS) do
    index[list] = {}
    for i, item in ipairs(config[list] or {}) do
      local path = ("%s[%d]"):format(list, i - 1)
      local name = item.name
      if not name or name == "" then
        report[list == "services" and "error" or "warning"](report, item, nil, path,
          list == "services" and "a service needs a name"
            or ("%s %s without a name cannot be used"):format(SINGULAR[list]:find "^[aeio]" and "an" or "a",
              SINGULAR[list]))
      elseif index[list][name] then
        report:error(item, "name", path, "%s %q is defined twice, also at %s", SINGULAR[list], name,
          report:place(index[list][name], list))
      else
        index[list][name] = item
      end
    end
  end
  return index
end

-- @param besides nil, or what else there is to say of one that leads nowhere
function methods:reference(field, object, key, name, path, besides)
  if name == "" then
    return
  end
  if self.owner then
    self.edges[self.owner] = self.edges[self.owner] or {}
    table.insert(self.edges[self.owner], {
      to = field.ref .. "/" .. name, object = object, key = key, path = path,
    })
  end
  if not self.index[field.ref][name] and not self.incomplete then
    local severity = field.ref == "loggers" and "warning" or self.missing
    self.report[severity](self.report, object, key, path, "there is no %s %q%s%s",
      SINGULAR[field.ref], name, besides or "", nearest.hint(name, names_of(self.config[field.ref])))
  end
end

-- Objects of the schema that are components, by the same word.
local PARTS = { handler = true, listener = true, dialer = true, connector = true }

-- References in the metadata of components.
function methods:metadata(kind, object, path)
  local found = PARTS[kind] and object.metadata and component.find(kind, object.type or "")
  for key, spec in pairs(found and found.metadata or {}) do
    local name = spec.ref and metadata.parse({ [key] = spec }, object.metadata)[key]
    if name then
      self:reference(spec, object.metadata, key, name, path .. ".metadata")
    end
  end
end

-- A hop of a chain is a whole one, or the name of one.
function methods:chain_hop(hop, path)
  if hop.nodes or hop.plugin or hop.file or hop.redis or hop.http then
    return self:object("hop", hop, path)
  end
  if hop.name and hop.name ~= "" then
    self:reference({ ref = "hops" }, hop, "name", hop.name, path, " and it has no nodes here")
  else
    self.report:error(hop, nil, path, "a hop needs nodes, or the name of a hop")
  end
  for key in pairs(hop) do
    if key ~= "name" then
      self.report:warning(hop, key, path, "is not read: without nodes this only names a hop")
    end
  end
end

function methods:field(kind, field, object, path)
  local value = object[field.name]
  local place = path == "" and field.name or path .. "." .. field.name
  if field.ref and field.item then
    for i, name in ipairs(value) do
      self:reference(field, value, i, name, place)
    end
  elseif field.ref then
    self:reference(field, object, field.name, value, path)
  elseif field.item and schema.object(field.item) then
    for i, item in ipairs(value) do
      local at = ("%s[%d]"):format(place, i - 1)
      if kind == "chain" and field.name == "hops" then
        self:chain_hop(item, at)
      else
        self:object(field.item, item, at)
      end
    end
  elseif schema.object(field.type) then
    self:object(field.type, value, place)
  end
end

-- Tables that came from a URL have no mark of their own: what is above them tells where they are.
function methods:object(kind, object, path)
  local before = self.report.origin
  self.report.origin = self.report.marks[object] or before
  for _, field in ipairs(schema.object(kind).fields) do
    if object[field.name] ~= nil and field.type ~= "ignored" then
      self:field(kind, field, object, path)
    end
  end
  self:metadata(kind, object, path)
  self.report.origin = before
end

function methods:root(config)
  for _, field in ipairs(schema.object("root").fields) do
    local value = config[field.name]
    if value ~= nil and field.item and schema.object(field.item) then
      for i, item in ipairs(value) do
        self.owner = item.name and field.name .. "/" .. item.name
        self:object(field.item, item, ("%s[%d]"):format(field.name, i - 1))
        self.owner = nil
      end
    elseif value ~= nil and schema.object(field.type) then
      self:object(field.type, value, field.name)
    end
  end
end

-- Follow references from object to object; each circle is reported once.
function methods:circles()
  local done, trail = {}, {}
  local function visit(node)
    if done[node] then
      return
    end
    trail[#trail + 1] = node
    trail[node] = #trail
    for _, edge in ipairs(self.edges[node] or {}) do
      if trail[edge.to] then
        local names = { unpack(trail, trail[edge.to]) }
        names[#names + 1] = edge.to
        self.report:error(edge.object, edge.key, edge.path, "goes round in a circle: %s",
          table.concat(names, " → "))
      else
        visit(edge.to)
      end
    end
    trail[node] = nil
    trail[#trail] = nil
    done[node] = true
  end
  local nodes = {}
  for node in pairs(self.edges) do
    nodes[#nodes + 1] = node
  end
  table.sort(nodes)
  for _, node in ipairs(nodes) do
    visit(node)
  end
end

--- Check all names.
-- @param report see tidegate.config.report
-- @param options nil or { missing = "warning": references may lead nowhere, as gost's may, incomplete =
--   what they lead to may be in a script that did not load }
function references.check(config, report, options)
  local self = setmetatable({
    missing = options and options.missing or "error",
    incomplete = options and options.incomplete or false,
    config = config,
    report = report,
    index = check_names(config, report),
    edges = {},
  }, mt)
  self:root(config)
  self:circles()
end

return references
