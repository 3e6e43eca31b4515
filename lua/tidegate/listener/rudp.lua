-- UDP, listened for at the far end of a chain: each client address there is a session here.

local component = require "tidegate.component"
local reverse = require "tidegate.net.reverse"

local SESSIONS_MAX = 65536 -- addresses are easily forged, and the far end may be hostile

local function positive(value, otherwise)
  return value and value > 0 and value or otherwise
end

-- Sessions last, whatever is answered.
local function options_of(md, handler)
  return {
    ttl = math.max(positive(md.ttl, 5), handler.session_ttl or 0) * 1000,
    limit = handler.whole_datagrams and 65535 or positive(md.readBufferSize, 8192),
    queue = positive(md.readQueueSize, 1024),
    backlog = positive(md.backlog, 128),
    most = SESSIONS_MAX,
    keepalive = true,
  }
end

return component.listener "rudp" {
  doc = "UDP, listened for at the far end of the chain",
  datagrams = true,
  metadata = {
    ttl = { type = "duration", default = 5, doc = "silence that ends a session" },
    backlog = { type = "int", default = 128, doc = "new sessions that wait to be accepted" },
    readBufferSize = { type = "int", default = 8192, doc = "longer datagrams are cut" },
    readQueueSize = { type = "int", default = 1024, doc = "datagrams a session holds" },
  },
  open = reverse.open,

  serve_alone = function(self, service)
    return reverse.serve(self, service, "udp", options_of(self.md, service.handler))
  end,
}
