-- The metrics server: one path that answers with everything that is counted.

local api = require "tidegate.admin.api"
local gzip = require "tidegate.native.gzip"
local head = require "tidegate.net.http.head"
local http = require "tidegate.admin.http"
local text = require "tidegate.metrics.text"

local M = {}

local CORS = {
  { "Access-Control-Allow-Origin", "*" },
  { "Access-Control-Allow-Methods", "GET, OPTIONS" },
  { "Access-Control-Allow-Headers", "*" },
}

local KIND = { "Content-Type", "text/plain; version=0.0.4; charset=utf-8" }

local function with_cors(request, response)
  if not request.passed_on then
    response.headers = response.headers or {}
    for _, field in ipairs(CORS) do
      table.insert(response.headers, field)
    end
  end
  return response
end

--- Make what answers requests, see tidegate.admin.http.
-- @param settings { path, auth, auther }; a named auther replaces auth
function M.new(settings, control)
  local path = settings.path
  path = (not path or path == "") and "/metrics" or path:sub(1, 1) == "/" and path or "/" .. path
  local named = (settings.auther or "") ~= ""
  local who = { auth = not named and settings.auth or nil, auther = settings.auther, authers = settings.authers }
  return {
    refuse = function(request)
      if request.path ~= path then
        return http.text(404, "404 page not found")
      elseif request.method == "OPTIONS" and not request.passed_on then
        return with_cors(request, { status = 204 })
      elseif not api.may(who, control, request, "@metrics") then
        return with_cors(request, { status = 401, headers = { { "WWW-Authenticate", "Basic" } } })
      end
    end,
    respond = function(request)
      local body = text.parts(control.vitals())
      local packed = head.has_token(request:header "accept-encoding" or "", "gzip") and gzip(body)
      return with_cors(request, {
        status = 200,
        headers = { KIND, packed and { "Content-Encoding", "gzip" } or nil },
        body = packed or request.passed_on and table.concat(body) or body,
      })
    end,
  }
end

return M
