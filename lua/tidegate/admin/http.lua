-- The HTTP/1.1 server of the admin plane: whole requests in, whole responses out, or a stream of events.

local buffer = require "string.buffer"
local head = require "tidegate.net.http.head"
local message = require "tidegate.net.http.message"
local reply = require "tidegate.handler.http.reply"
local task = require "tidegate.native.task"

local M = {}

local FIRST_MS = 15000 -- for the first head
local IDLE_MS = 120000 -- between two requests
local BODY_MS = 60000 -- for a body, and for a response to be taken
local BODY_MAX = 32 * 1024 * 1024

local function unescape(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

--- The parameters of a query: name → value, the first of each name.
function M.query(text)
  local fields = {}
  for pair in (text or ""):gmatch "[^&]+" do
    local name, value = pair:match "^([^=]*)=?(.*)$"
    name = unescape(name)
    if fields[name] == nil then
      fields[name] = unescape(value)
    end
  end
  return fields
end

-- Segments are unescaped one by one: an escaped slash stays part of its segment.
local function segments(path)
  local list = {}
  for part in path:gmatch "[^/]+" do
    list[#list + 1] = (part:gsub("%%(%x%x)", function(digits)
      return string.char(tonumber(digits, 16))
    end))
  end
  return list
end

local function write_all(stream, ...)
  stream:set_deadline(task.now() + BODY_MS)
  return stream:write(...)
end

local function refuse(stream, status, text)
  write_all(stream, reply.status_line(status), "Content-Type: text/plain\r\nConnection: close\r\nContent-Length: ",
    tostring(#text), "\r\n\r\n", text)
end

--- Make a request of its head and body.
-- @param raw of tidegate.net.http.head
function M.request(raw, body)
  local path, query = raw.target:match "^([^?#]*)%??([^#]*)"
  path = path:gsub("^%a+://[^/]*", "")
  return {
    raw = raw,
    method = raw.method,
    target = raw.target,
    path = path == "" and "/" or path,
    segments = segments(path),
    query = M.query(query),
    body = body or "",
    persistent = raw.persistent,
    header = function(_, name)
      return head.get(raw, name)
    end,
  }
end

-- @return head | nil, err (the client has been answered then, if there is something to say)
local function receive_head(stream, first)
  stream:set_deadline(task.now() + (first and FIRST_MS or IDLE_MS))
  local raw, err = head.request(stream)
  if not raw and (err.code == "protocol" or err.code == "limit") then
    refuse(stream, err.code == "limit" and 431 or 400, tostring(err) .. "\n")
  end
  return raw, err
end

local function receive_body(stream, raw)
  local framing = head.request_framing(raw)
  if framing ~= "chunked" and framing == 0 then
    return ""
  elseif framing ~= "chunked" and framing > BODY_MAX then
    refuse(stream, 413, ("the body has more than %d bytes\n"):format(BODY_MAX))
    return nil
  end
  if head.has_token(head.get(raw, "expect") or "", "100-continue") then
    write_all(stream, "HTTP/1.1 100 Continue\r\n\r\n")
  end
  stream:set_deadline(task.now() + BODY_MS)
  local body, err = message.body(stream, framing, BODY_MAX)
  if not body then
    refuse(stream, err.code == "limit" and 413 or 400, tostring(err) .. "\n")
  end
  return body, err
end

local function length(texts)
  local sum = 0
  for _, text in ipairs(texts) do
    sum = sum + #text
  end
  return sum
end

local function send(stream, request, response)
  local out = buffer.new()
  local body = type(response.body) == "table" and response.body or { response.body }
  out:put(reply.status_line(response.status or 200))
  for _, field in ipairs(response.headers or {}) do
    out:put(field[1], ": ", field[2], "\r\n")
  end
  if response.events then
    out:put "Connection: close\r\n\r\n"
    return write_all(stream, out:tostring())
  end
  if response.status ~= 204 then
    out:put("Content-Length: ", length(body), "\r\n")
  end
  out:put(request.persistent and "\r\n" or "Connection: close\r\n\r\n")
  if request.method == "HEAD" then
    body = {}
  end
  return write_all(stream, out:tostring(), unpack(body))
end

-- Ask for a response; one that raises is answered by a bare 500.
local function ask(answer, request, facts)
  local whole, response = xpcall(answer, debug.traceback, request)
  if whole then
    return response
  elseif facts.on_error then
    facts.on_error(response)
  end
  return { status = 500 }
end

-- One request.  @return whether another may follow
local function serve_one(stream, site, facts, first)
  local raw = receive_head(stream, first)
  if not raw then
    return false
  end
  local request = M.request(raw)
  for key, value in pairs(facts) do
    request[key] = value
  end
  local response = ask(site.refuse, request, facts)
  if response then -- whoever may not ask need not send a body either
    request.persistent = request.persistent and head.request_framing(raw) == 0
  else
    request.body = receive_body(stream, raw)
    if not request.body then
      return false
    end
    response = ask(site.respond, request, facts)
  end
  if not send(stream, request, response) then
    if response.close then
      response.close()
    end
    return false
  elseif response.events then
    response.events(function(text)
      return write_all(stream, text)
    end)
    return false
  end
  return request.persistent
end

--- Serve one connection until either side ends it.
-- @param site { refuse, respond }: refuse(request without its body) → response | nil, and where that is
--   nil, respond(request) → { status, headers = { { name, value }, … }, body } (a text, or a list of texts)
--   or, for a stream of events,
--   { …, events = function(write) }, where write(text) → true | nil, err
-- @param facts added to each request: client …; on_error(text) hears what raised
function M.serve(stream, site, facts)
  local goes_on = serve_one(stream, site, facts, true)
  while goes_on do
    goes_on = serve_one(stream, site, facts)
  end
end

--- A response to be made of a text.
function M.text(status, text, kind)
  return { status = status, headers = { { "Content-Type", kind or "text/plain" } }, body = text }
end

return M
