-- A forwarder's target as the origin of a request (tidegate.handler.http.origin).

local native = require "tidegate.native.tls"
local origin = require "tidegate.handler.http.origin"
local reach = require "tidegate.handler.forward.reach"

local M = {}
local methods = {}
local mt = { __index = methods }

local TLS_TIMEOUT = 15 -- seconds

--- @param handler with sniffer (its pool keeps connections) and proxy_version
-- @param network of targets that do not say it
-- @param host "host:port" that the client asks for; targets without an address take it
function M.new(handler, node, network, host)
  return setmetatable({ handler = handler, node = node, network = network, host = host }, mt)
end

local function key_of(self, ctx)
  return ("%s\0%s\0%s"):format(self.node.id, self.node.addr == "" and self.host or "", tostring(ctx.user))
end

function methods:open(engine, ctx, _, fresh)
  local node = self.node
  if engine.pool and not fresh then
    local upstream = engine.pool:take(key_of(self, ctx))
    if upstream then
      return ctx:own(upstream), true
    end
  end
  local context = node.tls_context
  local upstream, err = reach(self.handler, ctx, node, {
    network = self.network, host = self.host, port = context and 443 or 80,
  })
  if not upstream or not context then
    return upstream, err
  end
  local upper
  upper, err = native.client(upstream, context, node.tls_name or self.host and self.host:match "^(.*):%d+$",
    ctx:after(TLS_TIMEOUT))
  if not upper then
    node.mark:fail()
    return nil, node:blame(err)
  end
  return ctx:own(upper)
end

function methods:keep(engine, ctx, _, stream)
  if not engine.pool then
    return false
  end
  origin.disown(ctx, stream)
  engine.pool:put(key_of(self, ctx), stream)
  return true
end

function methods:lasts(engine) -- luacheck: ignore self
  return engine.pool ~= nil
end

--- Look at an answer before it goes on: some mark the target, and end the connection.
function methods:judge(request, response)
  local settings = request.settings
  if settings and settings.fails and settings.fails(response.status) then
    self.node.mark:fail()
    request.persistent = false
  end
end

return M
