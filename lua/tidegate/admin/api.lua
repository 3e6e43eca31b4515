-- The Web API: who may ask, what is asked, and the log of it.
--
-- It changes nothing by itself: `control` is what the control thread lets it do, see tidegate.process.face.

local answer = require "tidegate.admin.api.answer"
local base64 = require "tidegate.net.http.base64"
local collections = require "tidegate.admin.api.collections"
local config = require "tidegate.admin.api.config"
local connections = require "tidegate.admin.api.connections"
local docs = require "tidegate.admin.api.docs"
local http = require "tidegate.admin.http"
local mask = require "tidegate.config.mask"
local operate = require "tidegate.admin.api.operate"
local quotas = require "tidegate.admin.api.quotas"
local routes = require "tidegate.admin.routes"
local task = require "tidegate.native.task"
local ui = require "tidegate.admin.api.ui"

local M = {}

local PARTS = { config, collections, quotas, connections, operate, docs, ui }

local CORS = {
  { "Access-Control-Allow-Origin", "*" },
  { "Access-Control-Allow-Methods", "GET,POST,PUT,DELETE,OPTIONS" },
  { "Access-Control-Allow-Headers", "*" },
  { "Access-Control-Allow-Private-Network", "true" },
}

-- A page of another origin asks.
local function is_foreign(request)
  local origin, host = request:header "origin", request:header "host" or ""
  return origin ~= nil and origin ~= "http://" .. host and origin ~= "https://" .. host
end

-- Whether pages of its origin may ask at all.
local function is_welcome(settings, request)
  local origins = settings.origins
  if not origins or #origins == 0 or not is_foreign(request) then
    return true
  end
  for _, origin in ipairs(origins) do
    if origin:lower():gsub("/$", "") == request:header "origin":lower() then
      return true
    end
  end
  return false
end

--- The credentials of a request, by Basic authentication.  @return user, password | nil
function M.credentials(request)
  local scheme, text = (request:header "authorization" or ""):match "^(%a+) +(%S+)$"
  local plain = scheme and scheme:lower() == "basic" and base64.decode(text)
  if not plain then
    return nil
  end
  return plain:match "^([^:]*):(.*)$"
end

local function is_open(settings)
  if settings.guarded ~= nil then -- a service asks for it, or does not
    return not settings.guarded
  end
  for _, text in pairs(settings.auth or {}) do
    if text ~= "" then -- also a password without a name: then nobody gets in
      return false
    end
  end
  return (settings.auther or "") == "" and #(settings.authers or {}) == 0
end

--- Whether anybody may use a server of the admin plane.
M.is_open = is_open

--- Whether a request brings what a server of the admin plane asks for.
-- @param settings { auth, auther, authers }
-- @param name the service, as authers are told
function M.may(settings, control, request, name)
  if request.trusted ~= nil then -- a service has found out
    return request.trusted
  elseif is_open(settings) then
    return true
  end
  local user, password = M.credentials(request)
  return control.authenticate(settings, name, request.client or "", user or "", password or "")
end

-- What is said without a look at the body: nothing of the sort, go elsewhere, or who are you.
local function refusal(all, settings, control, request)
  local route, found = all:find(request)
  if not route and found then
    local query = request.target:match "%?.*$" or ""
    return { status = request.method == "GET" and 301 or 307, headers = { { "Location", found .. query } } }
  elseif not route then
    return http.text(404, "404 page not found")
  elseif not route.open and not M.may(settings, control, request, "@api") then
    return answer.unauthorized()
  end
  request.route, request.arguments = route, found
end

local function log_access(control, request, response, began)
  control.log:info("api", {
    "kind", "api", "method", request.method, "uri", mask.text(request.target), "code", response.status,
    "client", request.client or "", "duration", (task.now() - began) / 1000,
  })
end

--- Make what answers requests, see tidegate.admin.http.
-- @param settings { pathPrefix, accesslog, auth, auther, eval, saveAnywhere, origins }
function M.new(settings, control)
  local all = routes.new(settings.pathPrefix)
  local known = setmetatable({ open = is_open(settings) }, { __index = settings })
  for _, part in ipairs(PARTS) do
    part.add(all, control, known)
  end
  local function finish(request, response)
    if request.foreign and response.status ~= 204 and is_welcome(settings, request) then
      response.headers = { CORS[1], unpack(response.headers or {}) }
    end
    if settings.accesslog then
      log_access(control, request, response, request.began)
    end
    return response
  end
  return {
    refuse = function(request)
      request.began = task.now()
      local response
      request.foreign = is_foreign(request)
      if not is_welcome(settings, request) then
        response = answer.error(40301, "pages of this origin may not ask")
      elseif request.foreign and request.method == "OPTIONS" then
        response = { status = 204, headers = CORS }
      else
        response = refusal(all, settings, control, request)
      end
      return response and finish(request, response)
    end,
    respond = function(request)
      return finish(request, request.route.fn(request, request.arguments))
    end,
  }
end

return M
