-- What specs of examples share: copies of them with addresses of our own, servers to reach, a way to ask.

local http = require "spec.helpers.http"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}

local LIMIT_MS = 20000
local HEAD_MAX = 65536

--- All of a file.
function M.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

--- A text with other texts in the place of some; what is put in is not looked at again.
-- @param places list of { text, by }, tried in order
-- @param between nil or function(text) → text, done to what is left as it is
-- @return text, list of the texts that did not occur
function M.replaced(text, places, between)
  local held, missing = {}, {}
  for _, place in ipairs(places) do
    local count
    text, count = text:gsub(place[1]:gsub("%p", "%%%0"), function()
      held[#held + 1] = place[2]
      return "\1" .. #held .. "\2"
    end)
    missing[#missing + 1] = count == 0 and place[1] or nil
  end
  text = (between and between(text) or text):gsub("\1(%d+)\2", function(index)
    return held[tonumber(index)]
  end)
  return text, missing
end

--- A copy of an example with texts replaced, all of which must occur.
-- @param places text → text; a number stands for that port of 127.0.0.1
-- @return its path
function M.adapted(path, places)
  local list = {}
  for from, to in pairs(places) do
    list[#list + 1] = type(from) == "number" and { "127.0.0.1:" .. from, "127.0.0.1:" .. to } or { from, to }
  end
  table.sort(list, function(a, b) -- what holds another goes first
    return #a[1] > #b[1]
  end)
  local text, missing = M.replaced(M.read(path), list)
  assert(#missing == 0, path .. " has no " .. table.concat(missing, ", "))
  return programs.file(programs.folder(), path:match "[^/]+$", text)
end

--- A web server that answers each connection's first head with a text.
-- @param body text, or function(head) → text  @return address
function M.web(body)
  return plane.accept(function(s)
    local head = s:read_until("\r\n\r\n", HEAD_MAX)
    if head then
      local text = type(body) == "function" and body(head) or body
      s:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(#text, text))
    end
    s:close()
  end)
end

--- A connection to an address, or to a port here.  @param from address it comes from, if that matters
function M.dial(where, from)
  local address = tonumber(where) and "127.0.0.1:" .. where or where
  local s = assert(stream.dial(address, from and stream.options { bind = from } or nil, task.now() + LIMIT_MS))
  s:set_deadline(task.now() + LIMIT_MS)
  return s
end

--- All that somebody says who is told this, or nothing.
function M.ask(where, text, from)
  local s = M.dial(where, from)
  if text then
    s:write(text)
  end
  local answer = http.read_all(s)
  s:close()
  return answer
end

--- The answer to a GET.  @param more further header lines
function M.get(where, url, host, more)
  return M.ask(where, ("GET %s HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n"):format(url, host, more or ""))
end

return M
