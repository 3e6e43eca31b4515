-- The server's end of the plain HTTP tunnel: requests of any connections that share a token are one stream.
--
-- One worker serves a socket, since requests of one tunnel come over several connections.

local base64 = require "tidegate.net.http.base64"
local half = require "tidegate.net.pht.half"
local head = require "tidegate.net.http.head"
local header = require "tidegate.net.http.header"
local lines = require "tidegate.net.pht.lines"
local linger = require "tidegate.net.linger"
local listener = require "tidegate.native.listener"
local native = require "tidegate.native.stream"
local reply = require "tidegate.handler.http.reply"
local sid = require "tidegate.process.sid"
local task = require "tidegate.native.task"

local M = {}

local IDLE = 120000 -- ms between requests of a connection
local STALL = 30000 -- ms for a request's body, and for what is pushed to be taken
local HEARTBEAT = 10000 -- ms
local SILENT = 60000 -- ms without any request that end a tunnel
local REMEMBERED = 60000 -- ms for which a tunnel that is over is known
local RETURN = 1000 -- ms in which a client whose response was cut may ask anew
local CHUNK = 32768
local TUNNELS_MAX = 16384
local TOKEN_MAX = 128

local NOT_FOUND = "404 page not found\n"

local function say(stream, request, status, text, fields)
  text = text or status == 404 and NOT_FOUND or ""
  stream:set_deadline(task.now() + STALL)
  return stream:write(reply.status_line(status), request.persistent and "" or "Connection: close\r\n",
    fields or "", text ~= "" and "Content-Type: text/plain; charset=utf-8\r\n" or "",
    status == 404 and "X-Content-Type-Options: nosniff\r\n" or "", "Date: ", header.date(), "\r\n",
    "Content-Length: ", tostring(#text), "\r\n\r\n", text)
end

-- Tunnels ----------------------------------------------------------------------------------------

local function close_tunnel(self, tunnel)
  if self.tunnels[tunnel.token] == tunnel then
    self.tunnels[tunnel.token] = nil
    self.count = self.count - 1
    self.over[tunnel.token] = task.now() + REMEMBERED
  end
  tunnel.turn = nil
  tunnel.stream:close()
end

-- Tunnels that nobody asks for end, and those that ended are forgotten.
local function sweep(self)
  while self.count > 0 or next(self.over) do
    task.sleep(REMEMBERED / 4000)
    local now = task.now()
    for _, tunnel in pairs(self.tunnels) do
      if not tunnel.turn and now - tunnel.heard > SILENT then
        close_tunnel(self, tunnel)
      end
    end
    for token, moment in pairs(self.over) do
      if moment < now then
        self.over[token] = nil
      end
    end
  end
  self.sweeping = false
end

-- @return tunnel | nil: there are too many
local function open_tunnel(self, token, stream)
  if self.count >= TUNNELS_MAX then
    return nil
  end
  local inner, outer = native.pair()
  local tunnel = { token = token, stream = outer, heard = task.now() }
  self.tunnels[token] = tunnel
  self.count = self.count + 1
  task.spawn(self.service.serve, self.service, inner, {
    remote = stream:remote_address() or "@", local_address = stream:local_address() or "@",
  })
  if not self.sweeping then
    self.sweeping = true
    task.spawn(sweep, self)
  end
  return tunnel
end

local function find_tunnel(self, stream, request, gone)
  local token = request.target:match "[?&]token=([%w_%-]+)"
  if not token or #token > TOKEN_MAX then
    return nil, 403
  elseif self.over[token] then
    return nil, gone
  end
  local tunnel = self.tunnels[token] or open_tunnel(self, token, stream)
  if not tunnel then
    return nil, 429
  end
  tunnel.heard = task.now()
  return tunnel
end

-- Requests ---------------------------------------------------------------------------------------

local function authorize(self, stream, request)
  local token = sid.new()
  if not open_tunnel(self, token, stream) then
    return say(stream, request, 429)
  end
  return say(stream, request, 200, "token=" .. token, half.LINE)
end

local function push(self, stream, request)
  stream:set_deadline(task.now() + STALL)
  local more, body = lines.reader(stream, head.request_framing(request), 1) -- all but the first line are ignored
  local parts, bytes, err = {}, nil, nil
  repeat
    bytes, err = more()
    parts[#parts + 1] = bytes or nil
  until not bytes
  if bytes == nil then
    return nil, err
  end
  bytes = table.concat(parts)
  local _, _, foreign = body:state()
  if request.method ~= "POST" then
    return say(stream, request, 400)
  end
  local tunnel, status = find_tunnel(self, stream, request, 410)
  if not tunnel then
    return say(stream, request, status)
  elseif foreign then
    return say(stream, request, 400)
  elseif bytes == "" then
    if head.get(request, half.FIELD:lower()) then
      tunnel.stream:shutdown()
    else
      close_tunnel(self, tunnel)
    end
    return say(stream, request, 200)
  end
  tunnel.stream:set_deadline(task.now() + STALL)
  if not tunnel.stream:write(bytes) then
    return say(stream, request, 410)
  end
  return say(stream, request, 200)
end

local function send_line(stream, text)
  stream:set_deadline(task.now() + STALL)
  return stream:write(("%x\r\n%s\n\r\n"):format(#text + 1, text))
end

-- Lines until the tunnel ends, the client leaves or asks anew.
local function send_lines(self, stream, tunnel, turn)
  local sent = 0
  while tunnel.turn == turn do
    tunnel.stream:set_deadline(task.now() + HEARTBEAT)
    local bytes, err = tunnel.stream:read(CHUNK)
    if not bytes and err.code ~= "timeout" and err.code ~= "canceled" then
      close_tunnel(self, tunnel)
    end
    local ok = true
    if bytes then
      ok, err = send_line(stream, base64.encode(bytes))
    elseif err.code == "timeout" or tunnel.turn ~= turn and sent == 0 then
      ok, err = send_line(stream, "")
    end
    if not ok then
      if bytes and tunnel.turn then
        tunnel.stream:unread(bytes)
      end
      return nil, err
    end
    sent = sent + 1
    tunnel.heard = task.now()
  end
  return stream:write "0\r\n\r\n"
end

-- A client whose response was cut ends with that, unless it asks anew.
local function await_return(self, tunnel)
  task.sleep(RETURN / 1000)
  if not tunnel.turn and tunnel.left then
    close_tunnel(self, tunnel)
  end
end

local function leave(self, tunnel, turn)
  if tunnel.turn == turn then
    tunnel.turn, tunnel.left = nil, true
    task.spawn(await_return, self, tunnel)
  end
end

-- The client of a response left, which nothing would tell before the next line.
local function watch(self, stream, tunnel, turn)
  if tunnel.turn ~= turn then
    return
  end
  stream:set_deadline(nil)
  local bytes, err = stream:peek(1)
  if bytes or err.code == "canceled" or tunnel.turn ~= turn then
    return
  end
  leave(self, tunnel, turn)
  tunnel.stream:interrupt()
end

local function pull(self, stream, request)
  if request.method ~= "GET" then
    return say(stream, request, 400)
  end
  local tunnel, status = find_tunnel(self, stream, request, 403)
  if not tunnel then
    return say(stream, request, status)
  end
  local turn = {}
  if tunnel.turn then
    tunnel.turn = turn
    tunnel.stream:interrupt() -- the pull before this one ends
    task.sleep(0.001)
  end
  tunnel.turn, tunnel.left = turn, false
  local ok, err = stream:write(reply.status_line(200), request.persistent and "" or "Connection: close\r\n",
    "X-Accel-Buffering: no\r\nDate: ", header.date(), "\r\nTransfer-Encoding: chunked\r\n\r\n")
  if ok then
    task.spawn(watch, self, stream, tunnel, turn)
    ok, err = send_lines(self, stream, tunnel, turn)
    stream:interrupt()
  end
  if not ok then
    leave(self, tunnel, turn)
  end
  return ok, err
end

local function serve_requests(self, stream)
  while true do
    stream:set_deadline(task.now() + IDLE)
    local request, err = head.request(stream)
    if not request then
      if err.code == "protocol" or err.code == "limit" then
        say(stream, {}, 400)
        linger(stream)
        return nil, err:during "http request"
      end
      return true
    end
    local answer = self.paths[request.target:match "^[^?#]*"]
    local ok
    if answer then
      ok, err = answer(self, stream, request)
    else
      request.persistent = false
      ok, err = say(stream, request, 404)
    end
    if not ok then
      return nil, err
    elseif not request.persistent then
      linger(stream)
      return true
    end
  end
end

local QUIET = { eof = true, reset = true, closed = true, timeout = true }

local function serve_connection(self, stream)
  local service, remote = self.service, stream:remote_address() or "@"
  local upper, err = stream, nil
  if self.upgrade then
    upper, err = self.upgrade(stream)
  end
  if upper then
    local ok, why = serve_requests(self, upper)
    err = not ok and why or nil
    upper:close()
  end
  if err and not QUIET[err.code] then
    service.log:warn(("%s: %s"):format(remote, tostring(err)))
  end
  stream:close()
end

local methods = {}
local mt = { __name = "tidegate.pht", __index = methods }

--- Serve for the service as it is now; the tunnels stay.
function methods:adopt(service)
  local options = service.listener:options()
  self.service, self.upgrade = service, options.upgrade
  self.paths = { [options.authorize] = authorize, [options.push] = push, [options.pull] = pull }
end

--- Accept nothing more.
function methods:close()
  if self.acceptor then
    self.acceptor:close()
    self.acceptor = nil
  end
end

--- Serve a listening socket.
-- @param fd nil: another worker has it
-- @return acceptor with close() and adopt(service) | nil, err
function M.start(service, fd)
  local self = setmetatable({ tunnels = {}, over = {}, count = 0, sweeping = false }, mt)
  self:adopt(service)
  local err
  if fd then
    self.acceptor, err = listener.accept(fd, function(stream)
      return serve_connection(self, stream)
    end, function(shortage)
      if shortage then
        self.service.log:warn("accepting pauses: " .. tostring(shortage))
      end
    end)
  end
  if err then
    return nil, err
  end
  return self
end

return M
