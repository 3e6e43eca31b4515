-- Reading the items of a policy from where they are kept.

local failure = require "tidegate.failure"
local uv = require "luv"

local M = {}

local fetchers = {}

local function items_of(text, spec)
  if spec.raw then
    return text
  end
  local items = {}
  for line in text:gmatch "[^\r\n]+" do
    line = line:gsub("\t", " ")
    if spec.comments == "any" then
      line = line:gsub("#.*", "")
    end
    line = line:match "^%s*(.-)%s*$"
    local comment = spec.comments == "first" and line:sub(1, 1) == "#"
    local item = line ~= "" and not comment and (spec.line and spec.line(line) or not spec.line and line)
    if item then
      items[#items + 1] = item
    end
  end
  return items
end

function fetchers.file(config, spec)
  local file, err = io.open(config.path, "rb")
  if not file then
    return nil, failure.new("config", tostring(err))
  end
  local text = file:read "*a"
  file:close()
  return items_of(text, spec)
end

--- Read one source.
-- @param source "file", "redis" or "http"
-- @param config of the source
-- @param spec the kind's `loader`
-- @return items | nil, err
function M.fetch(source, config, spec)
  if not fetchers[source] then
    return nil, failure.new("unsupported", source .. " cannot be read")
  end
  return fetchers[source](config, spec)
end

--- Call fn() whenever a file changes.  @return handle with close(), or nil when it cannot be watched
function M.watch(config, fn)
  local handle = uv.new_fs_event()
  local ok = handle:start(config.path, {}, function()
    fn()
  end)
  if not ok then
    handle:close()
    return nil
  end
  handle:unref()
  return handle
end

return M
