-- What a client sees that has no valid credentials: the demand for them, or a decoy which does not
-- look like a proxy.

local addr = require "tidegate.net.addr"
local body = require "tidegate.native.body"
local client = require "tidegate.net.http.client"
local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"
local linger = require "tidegate.net.linger"
local recording = require "tidegate.handler.http.record"
local reply = require "tidegate.handler.http.reply"
local resolve = require "tidegate.net.resolve"
local stream_native = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}

local TYPES = { code = true, web = true, file = true, host = true }
local WEB_TIMEOUT = 15 -- seconds
local HOST_TIMEOUT = 15
local FILE_CHUNK = 65536
local DROPPED = { connection = true, ["keep-alive"] = true, ["proxy-authorization"] = true,
  ["proxy-connection"] = true }

local UNAVAILABLE = reply.closing(503)

--- Parse `type:value`.  @return { type, value } | nil when there is none | nil, err
function M.parse(text)
  if not text or text == "" then
    return nil
  end
  local kind, value = text:match("^(%a+):(.*)$")
  if not kind or not TYPES[kind] then
    return nil, failure.new("config",
      ("probeResist: %q is not code:N, web:URL, file:PATH or host:ADDRESS"):format(text))
  end
  return { type = kind, value = value }
end

-- May this request learn that credentials are wanted?  Yes without a decoy, and when it names one
-- of the secret hosts.
local function may_know(self, request)
  if not self.decoy then
    return true
  end
  local host = addr.host(request.url_host or "")
  return host ~= "" and self.knock[host:lower()] == true
end

local function demand(self, stream, request)
  local kept = (head.get(request, "proxy-connection") or ""):lower() == "keep-alive"
  return stream:write(reply.authenticate(self.md.authBasicRealm, kept))
end

local decoys = {}

function decoys.code(self, _, stream, request)
  local code = tonumber(self.decoy.value:match("^%d+$") or self.decoy_status or 503)
  if code == 0 then
    return demand(self, stream, request)
  end
  return stream:write(reply.closing(code, code == 200 and "Connection: keep-alive\r\n" or ""))
end

function decoys.web(self, ctx, stream, request)
  local url = self.decoy.value
  if not url:find("^http") then
    url = "http://" .. url
  end
  local response, err = client.request {
    url = url,
    deadline = ctx:after(WEB_TIMEOUT),
    redirects = 10,
  }
  if not response then
    ctx.log:debug("decoy: " .. tostring(err))
    return stream:write(UNAVAILABLE)
  end
  ctx:own(response)
  local framing = request.method == "HEAD" and 0 or response.framing
  local lines = head.lines(response.head, DROPPED)
    .. (response.status == 200 and "Connection: keep-alive\r\n" or "")
  local bytes = ("HTTP/1.1 %03d %s\r\n%s\r\n"):format(response.status, response.head.reason, lines)
  if framing == 0 then
    return stream:write(bytes)
  end
  return body.copy(response.stream, stream, framing, bytes, WEB_TIMEOUT * 1000, WEB_TIMEOUT * 1000)
end

function decoys.file(self, _, stream)
  local file = io.open(self.decoy.value, "rb")
  local size = file and file:seek("end")
  if not size or size >= 2 ^ 53 or not file:seek("set") then
    return stream:write(UNAVAILABLE)
  end
  local ok, err = stream:write(reply.status_line(200), "Content-Length: ", tostring(size),
    "\r\nConnection: keep-alive\r\nContent-Type: text/html\r\n\r\n")
  while ok do
    local chunk = file:read(FILE_CHUNK)
    if not chunk then
      break
    end
    ok, err = stream:write(chunk)
  end
  file:close()
  return ok, err
end

-- Not through the chain: the decoy is a neighbour.
local function dial(ctx, address)
  local deadline = ctx:after(HOST_TIMEOUT)
  local host, port = addr.split(address)
  local ips, err = resolve.lookup(host, deadline)
  if not ips then
    return nil, err
  end
  local where = {}
  for i, ip in ipairs(ips) do
    where[i] = addr.join(ip, port or 80)
  end
  return stream_native.dial(where, nil, deadline)
end

function decoys.host(self, ctx, stream, request)
  local there, err = dial(ctx, self.decoy.value)
  if not there then
    ctx.log:debug("decoy: " .. tostring(err))
    return stream:write(UNAVAILABLE)
  end
  ctx:own(there)
  local target = request.method == "CONNECT" and request.target or request.path
  local ok
  ok, err = there:write(("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n"):format(request.method, target,
    request.authority, head.lines(request, { host = true, ["proxy-authorization"] = true })))
  if not ok then
    return nil, err
  end
  return ctx:relay(stream, there)
end

--- Answer a request without valid credentials.
-- @param err why they are not valid
-- @return nil, err | true when a relay took over
function M.refuse(self, ctx, stream, request, err)
  stream:set_deadline(task.now() + self.stall)
  if may_know(self, request) then
    recording.unauthorized(ctx, 407)
    demand(self, stream, request)
  elseif decoys[self.decoy.type](self, ctx, stream, request) and self.decoy.type == "host"
    and stream:is_closed() then
    return true
  end
  if stream:is_closed() then
    return nil, err
  elseif stream:layer() == "http2" then
    stream:shutdown() -- a decoy of status 200 looks like the beginning of a tunnel
  elseif head.request_framing(request) ~= 0 then
    linger(stream)
  end
  return nil, err
end

return M
