-- Configurations from http and https URLs, fetched by the runtime's own client.

local http = require "tidegate.net.http"

local TIMEOUT = 30 -- seconds
local MAX_BODY = 10 * 1024 * 1024
local REDIRECTS = 10

--- Fetch a URL; the server of an https one must prove who it is.  Only a task may call this.
-- @return { status, body, content_type } | nil, err
return function(address)
  local response, err = http.request {
    url = address,
    timeout = TIMEOUT,
    redirects = REDIRECTS,
    limit = MAX_BODY,
  }
  if not response then
    return nil, err
  end
  return { status = response.status, body = response.body, content_type = response.headers["content-type"] }
end
