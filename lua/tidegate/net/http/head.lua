-- Heads of HTTP/1.x messages: received strictly, looked into, written anew.
--
-- A head keeps its field lines as one string; a field is looked up when somebody asks.  What two
-- parsers could read differently (RFC 9112 section 11) is refused by the decoder, never repaired.

local http1 = require "tidegate.native.http1"

local REQUEST = http1.request
local RESPONSE = http1.response

local M = {}

--- Receive the head of a request.
-- @return { method, target, minor, fields, length, chunked, host, connection, persistent }
-- | nil, err
function M.request(stream)
  return stream:receive(REQUEST)
end

--- Receive the head of a response.
-- @return { status, reason, minor, fields, length, chunked, connection, persistent } | nil, err
function M.response(stream)
  return stream:receive(RESPONSE)
end

--- get(head, name in lower case) → value of a field (all of them joined by ", ") | nil
M.get = http1.get

--- has_token(value, token in lower case) → does the list ("close, Upgrade") hold it, in any case?
M.has_token = http1.has_token

--- lines(head, without) → the field lines of a head, but those whose lower-case name is in the set
-- `without`, and those which the Connection field names (RFC 9110 7.6.1)
M.lines = http1.lines

--- request_framing(head) → length or "chunked"
M.request_framing = http1.request_framing

--- response_framing(head, method of the request) → length, "chunked" or "close"
M.response_framing = http1.response_framing

return M
