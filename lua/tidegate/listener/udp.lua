-- UDP: each client address is a session of its own.

local component = require "tidegate.component"
local packet = require "tidegate.native.packet"

local METADATA = {
  keepalive = {
    type = "bool", default = false,
    doc = "keep sessions until ttl; otherwise they end after the first answer",
  },
  ttl = { type = "duration", aliases = { "keepalive.ttl" }, default = 5, doc = "silence that ends a session" },
  backlog = { type = "int", default = 128, doc = "new sessions that wait to be accepted" },
  readBufferSize = { type = "int", aliases = { "udp.bufferSize" }, default = 4096, doc = "longer datagrams are cut" },
  readQueueSize = { type = "int", aliases = { "recvQueueSize" }, default = 128, doc = "datagrams a session holds" },
  stateless = { type = "bool", default = false, doc = "each datagram is a session of its own" },
  reuseport = { type = "bool", default = false, doc = "share the port with other processes" },
}

local function positive(value, otherwise)
  return value and value > 0 and value or otherwise
end

-- Where every session is decided alike, one that was answered may simply go on.
local function is_fresh(service)
  local forwarder = service.forwarder
  return forwarder ~= nil and not forwarder.single
end

-- A handler may need whole datagrams (`whole_datagrams`), and sessions that last (`session_ttl`, seconds).
local function options_of(self, service)
  local md, handler = self.md, service.handler
  return {
    ttl = math.max(positive(md.ttl, 5), handler.session_ttl or 0) * 1000,
    limit = handler.whole_datagrams and 65535 or positive(md.readBufferSize, 4096),
    queue = positive(md.readQueueSize, 128),
    backlog = positive(md.backlog, 128),
    keepalive = md.keepalive or handler.session_ttl ~= nil,
    stateless = md.stateless,
    fresh = is_fresh(service),
  }
end

local acceptor = {}
acceptor.__index = acceptor

--- Stop; all sessions end.
function acceptor:close()
  self.sessions:close()
end

--- Read no more: another process has the socket as well.  Sessions go on with what is on its way to clients.
function acceptor:pause()
  self.sessions:pause()
end

--- Let another service have the sessions to come; those that run go on.
function acceptor:adopt(service)
  self.service = service
  self.sessions:configure(options_of(service.listener, service))
end

-- Serve a bound socket.  @return an acceptor | nil, err
local function serve(self, service, fd)
  local it = setmetatable({ service = service }, acceptor)
  local err
  it.sessions, err = packet.listen(fd, options_of(self, service), function(session)
    return it.service:serve_session(session)
  end)
  if not it.sessions then
    return nil, err
  end
  return it
end

return component.listener "udp" {
  doc = "UDP, one session for each client address",
  network = "udp",
  datagrams = true,
  metadata = METADATA,
  serve = serve,
}
