-- /config as a whole: shown, saved, read again.

local answer = require "tidegate.admin.api.answer"
local mask = require "tidegate.config.mask"
local save_file = require "tidegate.admin.save"
local writer = require "tidegate.config.writer"

local M = {}

local function format_of(text)
  text = text and text:lower()
  return (text == "json" or text == "yaml") and text or nil
end

local function show(control, request)
  local format = request.query.format == "yaml" and "yaml" or "json"
  local config = control.config()
  local marks = control.marks(config)
  if mask.is_wanted(request.query.mask) then
    config, marks = mask.copy(config, marks)
  end
  return {
    status = 200,
    headers = { { "Content-Type", format == "yaml" and "text/x-yaml" or "application/json" } },
    body = writer.write(config, format, marks),
  }
end

local function save(control, settings, request)
  local path, format = request.query.path, format_of(request.query.format)
  path = path ~= "" and path or control.file() or (format == "json" and "gost.json" or "gost.yaml")
  format = format or (path:find "%.json$" and "json" or "yaml")
  local ok, err
  if not settings.saveAnywhere then
    ok, err = save_file.allowed(path, control.folders())
    if not ok then
      return answer.error(40005, ("save config: %s: %s"):format(path, err))
    end
  end
  ok, err = control.save(path, writer.write(control.config(), format))
  if not ok then
    return answer.error(40005, tostring(err))
  end
  return answer.done()
end

local function reload(control)
  local ok, problems = control.reload()
  if ok then
    return answer.done()
  end
  local texts = {}
  for i, item in ipairs(problems) do
    texts[i] = tostring(item)
  end
  return answer.error(40001, table.concat(texts, "; "))
end

--- Add the routes.
-- @param control see tidegate.process.face
-- @param settings { saveAnywhere }
function M.add(routes, control, settings)
  routes:add("GET", "/config", function(request)
    return show(control, request)
  end, {
    tag = "config", doc = "the configuration in force, with the state of its services", gives = "root", bare = true,
    query = { format = "json (default) or yaml", mask = "true: passwords and other secrets are shown as ***" },
  })
  routes:add("POST", "/config", function(request)
    return save(control, settings, request)
  end, {
    tag = "config", doc = "write the configuration to a file",
    query = { format = "json or yaml; default by the path", path = "default: the file that was loaded last" },
  })
  routes:add("POST", "/config/reload", function()
    return reload(control)
  end, { tag = "config", doc = "read the sources again and apply what has changed: all of it, or nothing" })
end

return M
