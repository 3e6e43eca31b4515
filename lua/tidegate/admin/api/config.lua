-- /config as a whole: shown, saved, read again.

local answer = require "tidegate.admin.api.answer"
local writer = require "tidegate.config.writer"

local M = {}

local function format_of(text)
  text = text and text:lower()
  return (text == "json" or text == "yaml") and text or nil
end

local function show(control, request)
  local format = request.query.format == "yaml" and "yaml" or "json"
  return {
    status = 200,
    headers = { { "Content-Type", format == "yaml" and "text/x-yaml" or "application/json" } },
    body = writer.write(control.config(), format, control.marks()),
  }
end

local function save(control, request)
  local path, format = request.query.path, format_of(request.query.format)
  path = path ~= "" and path or control.file() or (format == "json" and "gost.json" or "gost.yaml")
  format = format or (path:find "%.json$" and "json" or "yaml")
  local ok, err = control.save(path, writer.write(control.config(), format))
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
-- @param control see tidegate.admin.api
function M.add(routes, control)
  routes:add("GET", "/config", function(request)
    return show(control, request)
  end)
  routes:add("POST", "/config", function(request)
    return save(control, request)
  end)
  routes:add("POST", "/config/reload", function()
    return reload(control)
  end)
end

return M
