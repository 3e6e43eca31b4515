-- /config/quotas/{quota}/reset.

local answer = require "tidegate.admin.api.answer"
local cjson = require "cjson"

local M = {}

local MOST = 2 ^ 53

-- @return the number of bytes | nil, what is wrong
local function read_used(body)
  if not body:find "%S" then
    return 0
  end
  local ok, object = pcall(cjson.decode, body)
  if not ok or type(object) ~= "table" then
    return nil, "the body must be a JSON object"
  end
  local used = object.used
  if used == nil then
    return 0
  elseif type(used) ~= "number" or used < 0 or used > MOST or used ~= math.floor(used) then
    return nil, "used: must be a number of bytes"
  end
  return used
end

local function reset(control, request, arguments)
  local used, err = read_used(request.body)
  if not used then
    return answer.error(40001, err)
  elseif not control.reset_quota(arguments.quota, used) then
    return answer.error(40004, ("quota %s not found"):format(arguments.quota))
  end
  return answer.done()
end

--- Add the route.
-- @param control see tidegate.process.face
function M.add(routes, control)
  routes:add("POST", "/config/quotas/{quota}/reset", function(request, arguments)
    return reset(control, request, arguments)
  end, { tag = "quotas", doc = "set what a quota has counted, by default to 0", data = { used = 0 } })
end

return M
