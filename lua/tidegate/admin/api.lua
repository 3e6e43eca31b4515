-- The Web API: who may ask, what is asked, and the log of it.
--
-- It changes nothing by itself: `control` is what the control thread lets it do
--   config() → the configuration in force, in gost's schema; not to be changed
--   marks()  → what is known beside it: marks[service].status
--   change(edit) → true | nil, problems; edit(copy) → false to leave it
--   reload() → true | nil, problems        save(path, text) → true | nil, err
--   file() → the file that was read last, or nil
--   authenticate(auth, auther, name, client, user, password) → whether they may
--   log                                    a logger

local answer = require "tidegate.admin.api.answer"
local base64 = require "tidegate.net.http.base64"
local collections = require "tidegate.admin.api.collections"
local config = require "tidegate.admin.api.config"
local http = require "tidegate.admin.http"
local routes = require "tidegate.admin.routes"
local task = require "tidegate.native.task"

local M = {}

local PARTS = { config, collections }

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

--- The credentials of a request, by Basic authentication.  @return user, password | nil
function M.credentials(request)
  local scheme, text = (request:header "authorization" or ""):match "^(%a+) +(%S+)$"
  local plain = scheme and scheme:lower() == "basic" and base64.decode(text)
  if not plain then
    return nil
  end
  return plain:match "^([^:]*):(.*)$"
end

local function may(settings, control, request)
  if not settings.auth and not settings.auther then
    return true
  end
  local user, password = M.credentials(request)
  return control.authenticate(settings, "@api", request.client or "", user or "", password or "")
end

local function dispatch(table_of_routes, settings, control, request)
  local route, found = table_of_routes:find(request)
  if not route and found then
    local query = request.target:match "%?.*$" or ""
    return { status = request.method == "GET" and 301 or 307, headers = { { "Location", found .. query } } }
  elseif not route then
    return http.text(404, "404 page not found")
  elseif not route.open and not may(settings, control, request) then
    return answer.unauthorized()
  end
  return route.fn(request, found)
end

local function log_access(control, request, response, began)
  control.log:info("api", {
    "kind", "api", "method", request.method, "uri", request.target, "code", response.status,
    "client", request.client or "", "duration", (task.now() - began) / 1000,
  })
end

--- Make the function that answers requests.
-- @param settings { pathPrefix, accesslog, auth, auther }
function M.new(settings, control)
  local all = routes.new(settings.pathPrefix)
  for _, part in ipairs(PARTS) do
    part.add(all, control)
  end
  return function(request)
    local began, foreign, response = task.now(), is_foreign(request), nil
    if foreign and request.method == "OPTIONS" then
      response = { status = 204, headers = CORS }
    else
      response = dispatch(all, settings, control, request)
    end
    if foreign and request.method ~= "OPTIONS" then
      response.headers = { CORS[1], unpack(response.headers or {}) }
    end
    if settings.accesslog then
      log_access(control, request, response, began)
    end
    return response
  end
end

return M
