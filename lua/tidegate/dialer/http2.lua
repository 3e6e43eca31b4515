-- HTTP/2 to a proxy: what the connector http2 sends its requests over.

local component = require "tidegate.component"
local dial = require "tidegate.net.h2.dial"
local failure = require "tidegate.failure"

local IDLE = 30 -- seconds, gost's

-- What stands for a stream until the connector asks for one.
local door = {}
local door_mt = { __name = "tidegate.http2.door", __index = door }

--- Send a request.  @return stream | nil, err
function door:request(deadline, fields, ready)
  local ctx = self.ctx
  ctx.via = self.via
  local stream, err = dial.stream(self.dialer, ctx, self.node, deadline, fields, ready)
  ctx.via = nil
  return stream, err
end

function door:set_deadline() end

--- The session stays for others.
function door:close()
  self.ctx = nil
end

function door:is_closed()
  return self.ctx == nil
end

return component.dialer "http2" {
  doc = "HTTP/2 over TLS to a proxy, for the connector http2",
  metadata = dial.with {},
  multiplex = true,

  open = function(self)
    local connector = self.node.config.connector
    if not connector or connector.type ~= "http2" then
      return nil, failure.new("config", "the dialer http2 goes with the connector http2 only")
    end
    return dial.open(self, { alpn = { "h2", "http/1.1" }, idle = IDLE })
  end,

  close = dial.close,

  dial = function(self, ctx, node, _, deadline)
    local via = ctx.via
    local session, err = dial.session(self, ctx, node, deadline)
    if not session then
      return nil, err
    end
    return setmetatable({ dialer = self, ctx = ctx, node = node, via = via }, door_mt)
  end,
}
