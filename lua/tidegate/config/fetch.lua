-- Configurations from http and https URLs, fetched by the runtime's own client.

local client = require "tidegate.net.http.client"
local task = require "tidegate.native.task"

local TIMEOUT_MS = 30000
local MAX_BODY = 10 * 1024 * 1024
local REDIRECTS = 10

--- Fetch a URL; the server of an https one must prove who it is.  Only a task may call this.
-- @return { status, body, content_type } | nil, err
return function(address)
  local response, err = client.request {
    url = address,
    deadline = task.now() + TIMEOUT_MS,
    redirects = REDIRECTS,
    tls = { secure = true },
  }
  if not response then
    return nil, err
  end
  local body
  body, err = response:read(MAX_BODY)
  response:close()
  if not body then
    return nil, err
  end
  return { status = response.status, body = body, content_type = response:get("content-type") }
end
