-- Nodes of a hop that come from a file, Redis or a URL: a JSON array of node objects in the API's schema.
--
-- To tidegate.process.loaders this is a kind of policy like any other, made of whole texts.

local failure = require "tidegate.failure"
local lazy = require "tidegate.lazy"
local json = lazy "tidegate.config.json"
local log = require "tidegate.process.log"
local process = require "tidegate.native.process"
local reader = lazy "tidegate.config.reader"

local M = {
  kind = "hop",
  list = "hops",
  loader = { raw = true, redis = "string" },
}

local SOURCES = { "file", "redis", "http" }

-- What each source of a hop held when it was last in order: configuration → source → list.
local good = setmetatable({}, { __mode = "k" })

--- Read the JSON text of nodes.  @return list of node objects | nil, err
function M.parse(text)
  local tree, err = json.parse(text)
  if not tree then
    return nil, failure.new("config", type(err) == "table" and err.message or tostring(err))
  elseif tree.kind ~= "list" then
    return nil, failure.new("config", "nodes must be a JSON array")
  end
  local list = {}
  for i, item in ipairs(tree) do
    local made, problems = reader.read(item, { object = "node", mode = "file" })
    for _, problem in ipairs(problems) do
      if problem.severity ~= "warning" then
        return nil, failure.new("config", ("node %d: %s %s"):format(i - 1, problem.path, problem.message))
      end
    end
    list[i] = made
  end
  return list
end

--- Say that a node of a hop is left out, once for all workers.
function M.complain(registry, hop, err)
  if process.id() <= 1 then
    local logger = registry and registry.log or log.default()
    logger:warn(("hop %s: %s; the node is left out"):format(hop, tostring(err)), { "kind", "hop", "hop", hop })
  end
end

--- Make node objects of what was read.  A source that makes no sense keeps its last good nodes.
-- @return list of node objects, those of the file first, then Redis, then the URL
function M.prepare(config, loaded)
  local kept = good[config] or {}
  good[config] = kept
  local all = {}
  for _, source in ipairs(SOURCES) do
    local text = loaded[source]
    local list, err
    if type(text) == "string" and text ~= kept.bad then
      list, err = M.parse(text)
      if list then
        kept[source] = list
      else
        kept.bad = text -- said once
        log.default():warn(("hop %s: %s: %s"):format(config.name or "", source, tostring(err)),
          { "kind", "hop", "hop", config.name or "" })
      end
    end
    for _, item in ipairs(kept[source] or {}) do
      all[#all + 1] = item
    end
  end
  return all
end

return M
