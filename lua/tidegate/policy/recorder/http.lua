-- Records POSTed to a URL.

local failure = require "tidegate.failure"
local http = require "tidegate.net.http"

local M = {}
local methods = {}
local mt = { __name = "tidegate.recorder.http", __index = methods }

local TIMEOUT = 10 -- seconds, when none is given: a sink that hangs must not hold records for ever

--- @param config { url, timeout, header }
function M.open(config)
  local url = config.url or ""
  if url == "" then
    return nil, failure.new("config", "http: a URL is needed")
  elseif not url:lower():find("^http") then
    url = "http://" .. url
  end
  local headers, typed = {}, false
  for name, value in pairs(config.header or {}) do
    headers[name] = tostring(value)
    typed = typed or name:lower() == "content-type"
  end
  if not typed then
    headers["Content-Type"] = "application/json"
  end
  local timeout = config.timeout and config.timeout > 0 and config.timeout or TIMEOUT
  return setmetatable({ url = url, headers = headers, timeout = timeout, lanes = 8 }, mt)
end

function methods:write(list, from)
  local answer, err = http.request {
    method = "POST",
    url = self.url,
    headers = self.headers,
    body = list[from].data,
    timeout = self.timeout,
  }
  if not answer then
    return 0, err
  elseif answer.status >= 400 then
    -- what the server will not have now it will not have later, unless the fault is its own
    return 0, failure.new("io", ("HTTP status %d"):format(answer.status), {
      addr = self.url,
      rejected = answer.status < 500 and answer.status ~= 429 and answer.status ~= 408,
    })
  end
  return 1
end

return M
