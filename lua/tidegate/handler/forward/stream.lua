-- Forwarding of streams, shared by the handlers tcp, forward and unix.

local cache = require "tidegate.handler.http.cache"
local choice = require "tidegate.handler.forward.choice"
local missing = require "tidegate.handler.forward.missing"
local pool = require "tidegate.net.http.pool"
local reach = require "tidegate.handler.forward.reach"
local sniffing = require "tidegate.handler.sniffing"

local M = {}

M.METADATA = sniffing.with {
  ["http.keepalive"] = {
    type = "bool",
    default = false,
    doc = "of HTTP that is looked into: more than one request on a connection, on both sides",
  },
  readTimeout = { type = "duration", default = 15, min = 0, doc = "limit on looking at the first bytes" },
  idleTimeout = { type = "duration", default = 0, doc = "end tunnels that are silent for so long" },
  proxyProtocol = { type = "int", doc = "version of the PROXY header sent to the target" },
  hash = { type = "string", doc = "host: the strategy hash looks at the target, not the client" },
}

for key, spec in pairs(cache.METADATA) do
  M.METADATA[key] = spec
end

function M.open(self)
  local idle = self.md.idleTimeout or 0
  self.relay_options = idle > 0 and { idle = idle * 1000 } or nil
  self.proxy_version = (self.md.proxyProtocol or 0) > 0 and self.md.proxyProtocol or nil
  local ok, err = sniffing.open(self)
  if ok and self.sniffer and self.md["http.keepalive"] then
    self.sniffer.keepalive = true
    if not self.proxy_version then -- its header speaks for one client
      self.sniffer.pool = pool.new()
    end
  end
  return ok, err
end

--- Close what is kept for later requests.
function M.close(self)
  local engine = self.sniffer
  if engine and engine.pool then
    engine.pool:close()
  end
  if engine and engine.sessions then
    engine.sessions:close()
  end
end

--- Connect to one of the targets.
-- @return stream | nil, err
function M.connect(self, ctx, network)
  local forwarder, target, err = self.service.forwarder, nil, nil
  if forwarder then
    target, err = forwarder:select(ctx, network, "")
  end
  if not target then
    return nil, missing(self, err)
  end
  return reach(self, ctx, target, { network = network, port = 0 })
end

--- Handle a stream.
-- @param network "tcp" or "unix": how targets are reached that do not say it
function M.forward(self, ctx, stream, network)
  if self.sniffer then
    return sniffing.serve(self.sniffer, ctx, stream, choice.new(self, ctx, network))
  end
  local upstream, err = M.connect(self, ctx, network)
  if not upstream then
    return nil, err
  end
  return ctx:relay(stream, upstream, self.relay_options)
end

--- The handler's entry for TCP.
function M.handle(self, ctx, stream)
  return M.forward(self, ctx, stream, "tcp")
end

return M
