-- What scripts write about services, chains and hops, in gost's schema.
--
-- URLs are read as -L and -F read them.

local component = require "tidegate.component"
local failure = require "tidegate.failure"
local lazy = require "tidegate.lazy"
local url = lazy "tidegate.config.url"

local M = {}

local function copy(value)
  if type(value) ~= "table" then
    return value
  end
  local out = {}
  for key, item in pairs(value) do
    out[key] = copy(item)
  end
  return out
end

--- A copy of a plain value.
M.copy = copy

local function first_problem(problems)
  local problem = problems[1]
  return failure.new("config", type(problem) == "table" and problem.message or tostring(problem))
end

-- Lists of objects that a URL brought along, such as bypasses, with names of their own.
local function adopt(config, made, from)
  local renamed = {}
  for list, items in pairs(made) do
    if type(items) == "table" and list ~= "services" and list ~= "chains" then
      config[list] = config[list] or {}
      for _, item in ipairs(items) do
        local name = ("%s-%s"):format(from, item.name)
        renamed[item.name], item.name = name, name
        table.insert(config[list], item)
      end
    end
  end
  return renamed
end

local REFERENCES = {
  "admission", "bypass", "resolver", "hosts", "limiter", "climiter", "rlimiter", "observer",
}

local function point_to(object, renamed)
  for _, key in ipairs(REFERENCES) do
    object[key] = renamed[object[key]] or object[key]
  end
end

--- The services of a URL as -L takes it.
-- @param config takes in what the URL brings along
-- @param prefix of generated names
-- @return list of services | nil, err
function M.services_of_url(text, config, prefix)
  local made, problems = url.build({ text }, {}, { known = M.known })
  if #problems > 0 then
    return nil, first_problem(problems)
  end
  local renamed = adopt(config, made, ("%s-%d"):format(prefix, #config.services))
  for i, service in ipairs(made.services) do
    service.name = ("%s-%d"):format(prefix, #config.services + i - 1)
    point_to(service, renamed)
    point_to(service.handler, renamed)
  end
  return made.services
end

--- The hop of a URL as -F takes it.
-- @return hop | nil, err
function M.hop_of_url(text, name, config, prefix)
  local made, problems = url.build({}, { text }, { known = M.known })
  if #problems > 0 then
    return nil, first_problem(problems)
  end
  local hop = made.chains[1].hops[1]
  if config then
    point_to(hop, adopt(config, made, prefix .. "-" .. name))
  end
  hop.name = name
  return hop
end

local function part(value)
  if type(value) == "string" then
    return { type = value }
  elseif type(value) == "table" and value.kind and value.name then -- a declared component
    return { type = value.name }
  end
  return copy(value)
end

--- A node as a table: connector and dialer may be names.
function M.node(item)
  local node = {}
  for key, value in pairs(item) do
    if key ~= "connector" and key ~= "dialer" then
      node[key] = copy(value)
    end
  end
  node.connector, node.dialer = part(item.connector), part(item.dialer)
  return node
end

--- A hop as a table with nodes, or only a name.
function M.hop(item, name)
  local hop = {}
  for key, value in pairs(item) do
    hop[key] = key ~= "nodes" and copy(value) or {}
  end
  hop.name = item.name or name
  for i, node in ipairs(item.nodes or {}) do
    hop.nodes[i] = M.node(node)
    hop.nodes[i].name = node.name or ("node-%d"):format(i - 1)
  end
  return hop
end

--- Hops of a list whose items are URLs, hop tables (with nodes, or only a name) or node tables.
-- @return list of hops | nil, err
function M.hops(list, config, prefix)
  local hops = {}
  for i, item in ipairs(list) do
    local name, hop, err = ("hop-%d"):format(i - 1), nil, nil
    if type(item) == "string" and item:find("://", 1, true) then
      hop, err = M.hop_of_url(item, name, config, prefix)
      if not hop then
        return nil, err
      end
    elseif type(item) == "string" then
      hop = { name = item }
    elseif item.addr then
      hop = { name = name, nodes = { M.node(item) } }
      hop.nodes[1].name = item.name or "node-0"
    else
      hop = M.hop(item, name)
    end
    hops[i] = hop
  end
  return hops
end

--- A service as a table: `handler` and `listener` may be names, `chain` and `auther` belong to the
-- handler.
function M.service(item, name)
  local service = {}
  for key, value in pairs(item) do
    if key ~= "handler" and key ~= "listener" then
      service[key] = copy(value)
    end
  end
  service.name = item.name or name
  service.handler = part(item.handler) or { type = "auto" }
  service.listener = part(item.listener) or { type = "tcp" }
  for _, key in ipairs { "chain", "auther" } do
    if item[key] then
      service.handler[key], service[key] = item[key], nil
    end
  end
  return service
end

--- @param kind, name of a component that is not gost's; the script's own are known
function M.known(kind, name)
  return component.find(kind, name) ~= nil
end

return M
