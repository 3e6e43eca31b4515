-- An HTTP/1.1 request whose response is read as a stream, on a connection of its own; for decoys and
-- configurations.  Most callers want tidegate.net.http.
--
--   local response, err = client.request { url = "http://host/path", deadline = ms }
--   if response then print(response.status, response:read()) response:close() end

local connection = require "tidegate.net.connection"
local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"
local message = require "tidegate.net.http.message"
local url_of = require "tidegate.net.http.url"

local M = {}
local methods = {}
local mt = { __name = "tidegate.http.response", __index = methods }

local READ_LIMIT = 16 * 1024 * 1024
local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- One exchange without following redirects.
local function exchange(url, request)
  local ok, err = message.check_fields(request.headers or {})
  if not ok then
    return nil, err
  end
  local stream
  stream, err = connection.open(url, request, url.scheme == "https")
  if not stream then
    return nil, err
  end
  stream:set_deadline(request.deadline)
  ok, err = stream:write(message.request(url, request, true))
  local response
  if ok then
    response, err = message.receive(stream)
  end
  if not response then
    stream:close()
    return nil, err:during("http request", { addr = url.authority })
  end
  return setmetatable({
    status = response.status,
    head = response,
    stream = stream,
    framing = head.response_framing(response, request.method or "GET"),
  }, mt)
end

-- Where to go next, or nil.  What carries a body is not repeated.
local function next_url(url, request, response)
  local location = REDIRECTS[response.status] and not request.body and response:get("location")
  return location and url_of.parse(url_of.resolve(url, location))
end

--- Make a request.
-- @param request { url, method = "GET", headers = {}, body = string, deadline = ms,
--   tls = TLS settings (default: the certificate is verified), redirects = how many to follow (0),
--   dial = function(url, deadline) → stream }
-- @return response with status, stream, framing and methods get(name), read([limit]), close()
-- | nil, err
function M.request(request)
  local url, err = url_of.parse(request.url)
  if not url then
    return nil, err
  end
  for _ = 0, request.redirects or 0 do
    local response
    response, err = exchange(url, request)
    if not response then
      return nil, err
    end
    local onward = (request.redirects or 0) > 0 and next_url(url, request, response)
    if not onward then
      return response
    end
    response:close()
    url = onward
  end
  return nil, failure.new("protocol", "too many redirects", { layer = "http", addr = request.url })
end

--- The value of a header field, or nil; `name` in any case.
function methods:get(name)
  return head.get(self.head, name:lower())
end

--- Read the whole body.  @param limit in bytes, 16 MiB by default  @return bytes | nil, err
function methods:read(limit)
  return message.body(self.stream, self.framing, limit or READ_LIMIT)
end

--- Close the connection; may be repeated.
function methods:close()
  self.stream:close()
end

return M
