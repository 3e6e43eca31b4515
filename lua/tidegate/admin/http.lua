-- The HTTP/1.1 server of the admin plane: whole requests in, whole responses out, or a stream of events.

local buffer = require "string.buffer"
local head = require "tidegate.net.http.head"
local message = require "tidegate.net.http.message"
local reply = require "tidegate.handler.http.reply"
local task = require "tidegate.native.task"

local M = {}

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

-- @return request | nil, err (the client has been answered then)
local function receive(stream)
  stream:set_deadline(task.now() + IDLE_MS)
  local raw, err = head.request(stream)
  if not raw then
    if err.code == "protocol" or err.code == "limit" then
      refuse(stream, err.code == "limit" and 431 or 400, tostring(err) .. "\n")
    end
    return nil, err
  end
  local framing = head.request_framing(raw)
  local body = ""
  if framing == "chunked" or framing > 0 then
    if head.has_token(head.get(raw, "expect") or "", "100-continue") then
      write_all(stream, "HTTP/1.1 100 Continue\r\n\r\n")
    end
    stream:set_deadline(task.now() + BODY_MS)
    body, err = message.body(stream, framing, BODY_MAX)
    if not body then
      refuse(stream, err.code == "limit" and 413 or 400, tostring(err) .. "\n")
      return nil, err
    end
  end
  local path, query = raw.target:match "^([^?#]*)%??([^#]*)"
  path = path:gsub("^%a+://[^/]*", "")
  return {
    method = raw.method,
    target = raw.target,
    path = path == "" and "/" or path,
    segments = segments(path),
    query = M.query(query),
    body = body,
    persistent = raw.persistent,
    header = function(_, name)
      return head.get(raw, name)
    end,
  }
end

local function send(stream, request, response)
  local out = buffer.new()
  local body = response.body or ""
  out:put(reply.status_line(response.status or 200))
  for _, field in ipairs(response.headers or {}) do
    out:put(field[1], ": ", field[2], "\r\n")
  end
  if response.events then
    out:put "Connection: close\r\n\r\n"
    return write_all(stream, out:tostring())
  end
  if response.status ~= 204 then
    out:put("Content-Length: ", #body, "\r\n")
  end
  out:put(request.persistent and "\r\n" or "Connection: close\r\n\r\n")
  return write_all(stream, out:tostring(), request.method ~= "HEAD" and body or "")
end

--- Serve one connection until either side ends it.
-- @param respond function(request) → { status, headers = { { name, value }, … }, body } or, for a stream
--   of events, { …, events = function(write) }, where write(text) → true | nil, err
-- @param facts added to each request: client, secure …
function M.serve(stream, respond, facts)
  local ok, err, request
  repeat
    request, err = receive(stream)
    if not request then
      return nil, err
    end
    for key, value in pairs(facts or {}) do
      request[key] = value
    end
    local whole, response = xpcall(respond, debug.traceback, request)
    if not whole then
      if facts and facts.on_error then
        facts.on_error(response)
      end
      response = { status = 500 }
    end
    ok, err = send(stream, request, response)
    if ok and response.events then
      response.events(function(text)
        return write_all(stream, text)
      end)
      return true
    end
  until not ok or not request.persistent
  return true, err
end

--- A response to be made of a text.
function M.text(status, text, kind)
  return { status = status, headers = { { "Content-Type", kind or "text/plain" } }, body = text }
end


return M
