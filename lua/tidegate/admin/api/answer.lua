-- The envelope of the API's answers, and its error codes.

local cjson = require "cjson"
local writer = require "tidegate.config.writer"

local M = {}

local JSON = { { "Content-Type", "application/json; charset=utf-8" } }

local function quoted(text)
  return writer.plain_json(text)
end

--- A change was made.
function M.done()
  return { status = 200, headers = JSON, body = '{"msg":"OK"}' }
end

--- @param text JSON
function M.data(text)
  return { status = 200, headers = JSON, body = '{"data":' .. text .. "}" }
end

--- @param items list of JSON texts
function M.list(items)
  local text = #items > 0 and "[" .. table.concat(items, ",") .. "]" or "null"
  return M.data(('{"count":%d,"list":%s}'):format(#items, text))
end

local STATUS = { [401] = 401, [40001] = 400, [40002] = 400, [40003] = 500, [40004] = 400, [40005] = 500,
  [40301] = 403, [40401] = 404 }

--- A list as JSON, also when it is empty.
function M.array(list)
  return #list > 0 and cjson.encode(list) or "[]"
end

--- An error: 40001 invalid, 40002 duplicate, 40003 cannot be built, 40004 not found, 40005 cannot be saved;
-- ours: 40301 not allowed, 40401 no such thing (paths gost does not have).
function M.error(code, message)
  return {
    status = STATUS[code],
    headers = JSON,
    body = ('{"code":%d,"msg":%s}'):format(code, quoted(message)),
  }
end

--- Basic authentication failed.
function M.unauthorized()
  local response = M.error(401, "Unauthorized")
  response.headers = { { "WWW-Authenticate", "Basic" }, JSON[1] }
  return response
end

return M
