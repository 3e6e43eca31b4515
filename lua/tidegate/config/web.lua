-- What can be wrong with what a target has done to HTTP: its `http` object.

local body = require "tidegate.chain.rewrite.body"
local lazy = require "tidegate.lazy"
local regex = lazy "tidegate.native.regex"
local rewrite = lazy "tidegate.chain.rewrite"

local M = {}

local function check_urls(report, list, path)
  for i, item in ipairs(list or {}) do
    local re, err = regex.new(item.match or "")
    if not re then
      report:warning(item, "match", ("%s[%d]"):format(path, i - 1), "%q is left out: %s", item.match, tostring(err))
    end
  end
end

local function check_bodies(report, list, path)
  for i, item in ipairs(list or {}) do
    local _, err = body.compile({ item }, { rewriters = {} })
    if err then
      report:error(item, "match", ("%s[%d]"):format(path, i - 1), "%s", err.message)
    end
  end
end

--- Check a node or target.
-- @param report see tidegate.config.report
function M.check(report, node, path)
  local http = node.http
  if not http then
    return
  end
  path = path .. ".http"
  for _, word in ipairs(rewrite.bad_statuses(http.failCodes)) do
    report:warning(http, "failCodes", path, "%q is neither a status nor like 5xx; it is left out", word)
  end
  for _, key in ipairs { "rewriteURL", "rewrite" } do
    check_urls(report, http[key], path .. "." .. key)
  end
  for _, key in ipairs { "rewriteRequestBody", "rewriteResponseBody", "rewriteBody" } do
    check_bodies(report, http[key], path .. "." .. key)
  end
end

return M
