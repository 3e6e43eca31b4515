-- A configuration with everything taken away that is mere spelling: names are replaced by what they
-- refer to, defaults left out, metadata made lower-case texts.  Two configurations that do the same
-- thing look the same then.

local component = require "tidegate.component"
local readers = require "tidegate.config.readers"
local schema = require "tidegate.config.schema"
local uri = require "tidegate.config.uri"

local M = {}

local DEFAULT_TYPE = { handler = "auto", listener = "tcp", connector = "http", dialer = "tcp" }
local ONE_OF = {
  admission = "admissions", bypass = "bypasses", auther = "authers", logger = "loggers",
}

-- What gost copies from the URL of a node to its hop's metadata, where nobody reads it.
local LEFT_BEHIND = {}
for key in ([[tls.certfile certfile cert tls.keyfile keyfile key tls.cafile cafile ca tls.secure secure
  tls.servername servername auth]]):gmatch "%S+" do
  LEFT_BEHIND[key] = true
end

local methods = {}
local mt = { __name = "tidegate.config.plain_form", __index = methods }

local function text_of(value)
  if type(value) == "number" then
    return ("%.14g"):format(value)
  end
  return (tostring(value):gsub("%s+$", ""))
end

local function splits(owner, kind, key)
  local item = DEFAULT_TYPE[owner] and component.find(owner, kind)
  for name, spec in pairs(item and item.metadata or {}) do
    if name:lower() == key then
      return spec.split == ","
    end
  end
  return key == "dns"
end

-- @param owner "handler" and so on, @param kind its type
function methods:map(value, owner, kind)
  local made = {}
  for key, item in pairs(value) do
    local name = tostring(key):lower()
    self.spelling[name] = self.spelling[name] or tostring(key)
    if type(item) ~= "table" then
      made[name] = text_of(item)
    elseif item[1] ~= nil and (item[2] == nil or splits(owner, kind, name)) then
      local texts = {}
      for i, one in ipairs(item) do
        texts[i] = text_of(one)
      end
      made[name] = table.concat(texts, ",")
    elseif next(item) ~= nil then
      made[name] = item
    end
  end
  return made
end

function methods:find(list, name)
  for i, item in ipairs(self.config[list] or {}) do
    if item.name == name then
      self.used[item] = true
      return item, i
    end
  end
end

-- The object a name stands for.
function methods:refer(list, name)
  local item = self:find(list, name)
  local kind = schema.object("root").by_key[list:lower()].item
  return item and self:object(kind, item) or { ["no such object"] = name }
end

-- Is this what stands there when nothing is written?
local function is_nothing(value)
  return value == nil or value == "" or value == 0 or value == false
    or type(value) == "table" and next(value) == nil
end

function methods:value(field, value, owner)
  local item = field.item
  if field.ref and item then
    local list = {}
    for i, name in ipairs(value) do
      list[i] = self:refer(field.ref, name)
    end
    return list
  elseif field.ref then
    return value ~= "" and self:refer(field.ref, value) or nil
  elseif item then
    local list = {}
    for i, one in ipairs(value) do
      list[i] = self:value({ type = item }, one)
    end
    return list
  elseif field.type == "map" or field.type == "texts" then
    return self:map(value, owner.name, owner.type)
  elseif schema.object(field.type) then
    return self:object(field.type, value)
  end
  return type(value) == "string" and text_of(value) or value
end

-- Take away what parts hold and others read.  @param parts side → object with `type` and `metadata`
local function drop_copies(parts)
  local kinds = {}
  for side, part in pairs(parts) do
    kinds[side] = part.type or ""
  end
  for side, part in pairs(parts) do
    for key in pairs(part.metadata or {}) do
      part.metadata[key] = not readers.is_copy(side, kinds, key) and part.metadata[key] or nil
    end
    part.metadata = part.metadata and next(part.metadata) and part.metadata or nil
  end
end

local settle = {} -- object → what is peculiar about it

function settle.selector(made)
  made.strategy = made.strategy or "round"
  made.maxFails = (made.maxFails or 0) > 0 and made.maxFails or 1
  made.failTimeout = (made.failTimeout or 0) > 0 and made.failTimeout or 10
  local plain = made.strategy == "round" and made.maxFails == 1 and made.failTimeout == 10
  for key in pairs(made) do
    plain = plain and (key == "strategy" or key == "maxFails" or key == "failTimeout")
  end
  return not plain and made or nil
end

function settle.hop(made)
  for key in pairs(made.metadata or {}) do
    made.metadata[key] = not LEFT_BEHIND[key] and made.metadata[key] or nil
  end
  for _, node in ipairs(made.nodes or {}) do
    drop_copies { node = node, connector = node.connector, dialer = node.dialer }
    drop_copies { hop = made, node = node, connector = node.connector, dialer = node.dialer }
  end
  return made
end

function settle.node(made)
  made.connector = made.connector or { type = DEFAULT_TYPE.connector }
  made.dialer = made.dialer or { type = DEFAULT_TYPE.dialer }
  local tls = made.dialer.tls
  if tls and (tls.serverName == uri.hostname(made.addr or "") or (tls.serverName or ""):find ",") then
    tls.serverName = nil -- a URL always names the host
    made.dialer.tls = next(tls) and tls or nil
  end
  return made
end

function settle.service(made)
  made.handler = made.handler or { type = DEFAULT_TYPE.handler }
  made.listener = made.listener or { type = DEFAULT_TYPE.listener }
  drop_copies { service = made, handler = made.handler, listener = made.listener }
  return made
end

local function settle_rules(made)
  made.whitelist, made.reverse = made.whitelist or made.reverse, nil
  return made
end
settle.bypass, settle.admission = settle_rules, settle_rules

--- The plain form of one object.
function methods:object(kind, value)
  if kind == "hop" and not value.nodes and value.name then
    local named = self:find("hops", value.name)
    value = named or value
  end
  local made, owner = {}, { name = kind, type = value.type }
  for _, field in ipairs(schema.object(kind).fields) do
    local item = value[field.name]
    if item ~= nil and field.type ~= "ignored" and (field.name ~= "name" or field.ref) then
      item = self:value(field, item, owner)
      made[field.name] = not is_nothing(item) and item or nil
    end
  end
  if DEFAULT_TYPE[kind] then
    made.type = made.type or DEFAULT_TYPE[kind]
  end
  for one, several in pairs(ONE_OF) do
    if not made[one] and made[several] and #made[several] == 1 then
      made[one], made[several] = made[several][1], nil
    end
  end
  if settle[kind] then
    made = settle[kind](made)
  end
  for key, item in pairs(made or {}) do
    made[key] = not is_nothing(item) and item or nil
  end
  return made
end

--- @return { services = list in plain form, used = { object → true } of those something refers to,
--   spelling = { lower-case key → as it was written } }
function M.of(config)
  local self = setmetatable({ config = config, used = {}, spelling = {} }, mt)
  local services = {}
  for i, service in ipairs(config.services or {}) do
    services[i] = self:object("service", service)
  end
  return { services = services, used = self.used, spelling = self.spelling }
end

-- Where one differs from the other ---------------------------------------------------------------

local function show(value)
  return type(value) == "table" and "" or (" (%s)"):format(tostring(value))
end

--- Tell how `got` differs from `wanted`.
-- @param report function(path, text)
function M.compare(wanted, got, path, report)
  if got == nil and path:find "%.metadata$" then
    got = {} -- so that its keys are named
  end
  if type(wanted) ~= "table" or type(got) ~= "table" then
    if wanted ~= got and got == nil then
      report(path, "has no place in a URL" .. show(wanted))
    elseif wanted ~= got and wanted == nil then
      report(path, "would be added by a URL" .. show(got))
    elseif wanted ~= got then
      report(path, ("would become another one in a URL%s"):format(show(got)))
    end
    return
  end
  local keys = {}
  for _, side in ipairs { wanted, got } do
    for key in pairs(side) do
      keys[#keys + 1] = (side == wanted or wanted[key] == nil) and key or nil
    end
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for _, key in ipairs(keys) do
    local step = type(key) == "number" and ("[%d]"):format(key - 1) or "." .. tostring(key)
    M.compare(wanted[key], got[key], path .. step, report)
  end
end

return M
