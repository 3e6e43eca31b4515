-- simple-obfs' HTTP mode: one request and one answer as of a WebSocket, then bytes as they are.

local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"
local header = require "tidegate.net.http.header"
local http1 = require "tidegate.native.http1"
local opener = require "tidegate.native.opener"
local ws = require "tidegate.native.ws"

local M = {}

local OURS = {
  connection = true, upgrade = true, ["sec-websocket-key"] = true, ["sec-websocket-accept"] = true,
  ["content-length"] = true, ["transfer-encoding"] = true,
}

--- Look through a configured map of header fields.  @return sorted { name, value } pairs | nil, err
function M.fields(map)
  local list, err = header.configured(map, OURS)
  if not list then
    return nil, err
  end
  local ok
  ok, err = http1.encode("GET / HTTP/1.1", list) -- to see whether they can be written
  return ok and list, err
end

local function with(fields, own)
  local all = {}
  for _, list in ipairs { own, fields } do
    for _, field in ipairs(list) do
      all[#all + 1] = field
    end
  end
  return header.sort(all)
end

--- The client's end: the request goes out with the first bytes.
-- @param host "": what the fields say, or else `address`
-- @return stream; the one given is used up | nil, err
function M.client(stream, host, address, fields)
  local named, agent, others = header.client(fields, address)
  host = host ~= "" and host or named
  others = with(others, {
    { "Connection", "Upgrade" }, { "Sec-Websocket-Key", ws.key() }, { "Upgrade", "websocket" },
  })
  table.insert(others, 1, { "User-Agent", agent })
  table.insert(others, 1, { "Host", host })
  local request, err = http1.encode("GET / HTTP/1.1", others)
  if not request then
    return nil, err
  end
  return opener.obfs_http(stream, request)
end

local function wrong(message)
  return nil, failure.new("protocol", message, { layer = "ohttp" })
end

--- The server's end.  @return stream; the one given is used up | nil, err
function M.server(stream, fields, deadline)
  stream:set_deadline(deadline)
  local request, err = head.request(stream)
  if not request then
    return nil, err:during "ohttp request"
  end
  if request.method ~= "GET" or (head.get(request, "upgrade") or ""):lower() ~= "websocket" then
    local lines = with(fields, { { "Date", header.date() } })
    lines[#lines + 1] = { "Content-Length", "0" }
    stream:write(http1.encode("HTTP/1.1 400 Bad Request", lines))
    stream:shutdown()
    return wrong(("%s %s is no ohttp client's request"):format(request.method, request.target))
  end
  local answer = http1.encode("HTTP/1.1 101 Switching Protocols", with(fields, {
    { "Connection", "Upgrade" },
    { "Date", header.date() },
    { "Sec-Websocket-Accept", ws.accept(head.get(request, "sec-websocket-key") or "") },
    { "Upgrade", "websocket" },
  }))
  stream:set_deadline(nil)
  local late, unsent = opener.late_reply(stream, answer) -- as gost does; its clients may have left by now
  if unsent == nil then
    return late
  end
  local ok
  ok, err = stream:write(answer)
  if not ok then
    return nil, err:during "ohttp answer"
  end
  return stream
end

return M
