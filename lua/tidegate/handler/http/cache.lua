-- Responses kept for the next who asks, as gost keeps them: by method, host and URI as they were received,
-- for as long as the configuration says.
--
-- What gost would keep and better is not: answers to requests with credentials, conditions or ranges, and
-- answers marked private or no-store or with cookies; `cache.unsafe` has them kept all the same.

local head = require "tidegate.net.http.head"

local M = {}

M.METADATA = {
  ["cache.ttl"] = { type = "duration", doc = "how long responses are fresh, instead of the cache's ttl" },
  ["cache.status.*"] = { type = "duration", doc = "the same for a status, as in cache.status.301" },
  ["cache.serveStale"] = {
    type = "bool",
    default = false,
    doc = "an expired response is better than none when the origin fails",
  },
  ["cache.methods"] = { type = "list", split = ",", default = { "GET", "HEAD" }, doc = "whose responses are kept" },
  ["cache.maxBodyBytes"] = { type = "int", default = 1048576, doc = "of the whole response, head included" },
  ["cache.unsafe"] = {
    type = "bool",
    default = false,
    doc = "keep what may be meant for one client alone: with Authorization, cookies, private, no-store",
  },
}

local function set(names)
  local out = {}
  for _, name in ipairs(names) do
    out[name] = true
  end
  return out
end

local UNFRAMED = set {
  "connection", "keep-alive", "proxy-connection", "transfer-encoding", "trailer", "content-length",
}
local UNFRAMED_UNPACKED = set { "content-encoding" }
for name in pairs(UNFRAMED) do
  UNFRAMED_UNPACKED[name] = true
end
local CONDITIONS = { "authorization", "range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since",
  "if-range" }

--- Prepare a handler: `self.cacheable` is the set of methods.
function M.open(self)
  self.cacheable = set(self.md["cache.methods"])
end

-- A request whose real target is hidden must not speak for the one it names.
local function says_where(request)
  return request.authority == (request.url_host or request.host or "")
end

-- May this client have a stored response as it is?
local function understands(request, bytes)
  local fields = bytes:match "^HTTP/1%.%d %d%d%d[^\n]*\r\n(.-\r\n)\r\n"
  local coding = fields and head.get(fields, "content-encoding")
  if not coding or coding:lower() == "identity" then
    return true
  end
  local accepted = head.get(request, "accept-encoding")
  return accepted ~= nil and accepted:lower():find(coding:lower(), 1, true) ~= nil
end

--- What is known about a request: nil when it is not cacheable.
-- @return { cache, key, bytes (stored, or nil), fresh }
function M.lookup(self, ctx, request)
  local cache = ctx.service and ctx.service.cache
  if not cache or not self.cacheable[request.method] or head.request_framing(request) ~= 0
    or head.get(request, "upgrade") or not says_where(request) then
    return nil
  end
  local key = ("%s %s %s"):format(request.method, request.host or "", request.target)
  local bytes, fresh = cache:get(key)
  if bytes and not (bytes:find "^HTTP/1%.%d %d%d%d[^\n]*\r\n" and understands(request, bytes)) then
    bytes = nil
  end
  return { cache = cache, key = key, bytes = bytes, fresh = bytes and fresh }
end

local function is_private(request, response)
  for _, name in ipairs(CONDITIONS) do
    if head.get(request, name) then
      return true
    end
  end
  local control = head.get(response, "cache-control")
  return control and (head.has_token(control, "no-store") or control:lower():find("private", 1, true))
    or head.get(response, "set-cookie") ~= nil
end

--- @return how much of the body is to be kept, 0: the response is not stored
function M.room(self, entry, request, response)
  if not entry or response.status < 200 or response.status > 399 then
    return 0
  end
  if not self.md["cache.unsafe"] and is_private(request, response) then
    return 0
  end
  return math.max(self.md["cache.maxBodyBytes"], 0)
end

--- Store a response whose body is known whole.
-- @param body the bytes without chunks; nil: there is none
-- @param unpacked the body was unpacked on the way
function M.store(self, entry, request, response, body, unpacked)
  local dropped = unpacked and UNFRAMED_UNPACKED or UNFRAMED
  local length = body and #body or request.method == "HEAD" and response.length or nil
  local bytes = ("HTTP/1.1 %03d %s\r\n%s%s\r\n%s"):format(response.status, response.reason,
    head.lines(response, dropped), length and ("Content-Length: %.0f\r\n"):format(length) or "", body or "")
  if #bytes <= self.md["cache.maxBodyBytes"] then
    local status = self.md["cache.status.*"][tostring(response.status)]
    entry.cache:set(entry.key, bytes, status or self.md["cache.ttl"])
  end
end

--- Answer from the cache.
-- @return true | nil, err; whether the connection lives on; the head as http.head has it
function M.serve(stream, request, bytes)
  local first, rest = bytes:match("^HTTP/1%.%d ([^\n]*\n)(.*)$")
  local fields = rest:match("^(.-\r\n)\r\n") or ""
  local old = request.minor == 0
  local connection = not request.persistent and "Connection: close\r\n" or old and "Connection: keep-alive\r\n" or ""
  local ok, err = stream:write(("HTTP/1.%d %s%s%s"):format(request.minor, first, connection, rest))
  return ok, err, request.persistent, {
    status = tonumber(first:match("^%d+")),
    fields = fields,
    length = tonumber(head.get(fields, "content-length")),
  }
end

return M
