-- Forwarding of datagram sessions, shared by the handlers udp, tcp and forward.

local addr = require "tidegate.net.addr"
local lazy = require "tidegate.lazy"
local dns = lazy "tidegate.handler.sniffing.dns"
local load = require "tidegate.chain.load"
local missing = require "tidegate.handler.forward.missing"
local record = require "tidegate.process.record"

local M = {}

local METADATA = {
  stateless = { type = "bool", default = false, doc = "one datagram to the target, one answer, the end" },
  bufferSize = {
    type = "int",
    aliases = { "readBufferSize", "udp.bufferSize" },
    default = 4096,
    doc = "accepted for gost's sake: answers are never cut",
  },
}

--- The keys that concern datagrams, and others.
function M.metadata_with(others)
  local all = {}
  for _, part in ipairs { METADATA, others } do
    for key, value in pairs(part) do
      all[key] = value
    end
  end
  return all
end

local function options_of(self)
  local md = self.md
  if md.stateless then
    local timeout = md.readTimeout and md.readTimeout > 0 and md.readTimeout or 15
    return { idle = timeout * 1000, replies = 1 }
  end
  local idle = md.idleTimeout or 0
  return idle > 0 and { idle = idle * 1000 } or {}
end

--- An endpoint to one of the targets.
-- @param found what was seen of the client: { proto, name }, or nil
-- @return endpoint | nil, err | endpoint, nil, its "host:port"
function M.connect(self, ctx, found)
  local forwarder, target, err = self.service.forwarder, nil, nil
  if forwarder then
    target, err = forwarder:select(ctx, "udp", "", found and {
      proto = found.proto, host = found.name, client_ip = ctx.client_ip, ctx = ctx,
    })
  end
  if not target then
    return nil, missing(self, err)
  end

  ctx.node = target.name
  local address = target.port and target.addr or addr.with_port(target.addr, 0)
  ctx.own_target = true
  local upstream
  upstream, err = ctx:packets("udp", address)
  if not upstream then
    target.mark:fail()
    return nil, target:blame(err)
  end
  target.mark:ok()
  load.settle(ctx, target, upstream)
  return upstream, nil, address
end

--- The handler's entry for a session.
function M.handle(self, ctx, session)
  local found, err
  if self.sniffer then
    found, err = dns.look(ctx, session)
    if err then
      return nil, err
    end
  end
  local upstream
  upstream, err = M.connect(self, ctx, found)
  if not upstream then
    return nil, err
  end
  self.packet_options = self.packet_options or options_of(self)
  local options = self.packet_options
  if found and record.wanted(ctx) then
    options = dns.recorded(ctx, upstream, options)
  end
  return ctx:relay_packets(session, upstream, options)
end

return M
