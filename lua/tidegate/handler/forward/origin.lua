-- A forwarder's target as the origin of a request (tidegate.handler.http.origin).

local native = require "tidegate.native.tls"
local origin = require "tidegate.handler.http.origin"
local reach = require "tidegate.handler.forward.reach"
local sessions = require "tidegate.net.http.sessions"

local M = {}
local methods = {}
local mt = { __index = methods }

local TLS_TIMEOUT = 15 -- seconds

--- @param handler with sniffer (its pool and sessions keep connections) and proxy_version
-- @param network of targets that do not say it
-- @param host "host:port" that the client asks for; targets without an address take it
function M.new(handler, node, network, host)
  return setmetatable({ handler = handler, node = node, network = network, host = host }, mt)
end

local function key_of(self, ctx)
  local client = self.handler.proxy_version and ctx.remote or "" -- its header speaks for one client
  return ("%s\0%s\0%s\0%s"):format(self.node.id, self.node.addr == "" and self.host or "", tostring(ctx.user), client)
end

-- @param context of TLS, or nil
-- @param shared is it meant for many requests?
-- @return stream, the protocol that TLS agreed on or nil | nil, err
local function dial(self, ctx, context, shared)
  local node = self.node
  local upstream, err = reach(self.handler, ctx, node, {
    network = self.network, host = self.host, port = context and 443 or 80, shared = shared,
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
  local info = native.info(upper)
  return ctx:own(upper), info and info.alpn
end

-- Over HTTP/2, if the target speaks it.  @return as sessions:open()
local function multiplex(self, engine, ctx, request, fresh)
  local node, version = self.node, self.node.http_version
  local upgrade = request.upgrade
  local wants = version == "2" or version == "auto" and ctx.carrier_of_h2
  if not wants or upgrade and upgrade:lower() ~= "websocket" then
    return nil
  end
  engine.sessions = engine.sessions or sessions.new()
  local context = node.tls_context_h2
  local upstream, used, other = engine.sessions:open(key_of(self, ctx), {
    scheme = context and "https" or "http",
    doubtful = not context and version == "auto",
    websocket = upgrade ~= nil,
    except = fresh and request.session or nil,
  }, function()
    local stream, protocol = dial(self, ctx, context, true)
    if stream and not context then
      protocol = "h2" -- with prior knowledge
    end
    return stream, protocol
  end)
  if upstream then
    request.session = other
    return ctx:own(upstream), used
  end
  if used and used.op == "greeting" then -- dial() has named the target already
    used = node:blame(used)
  end
  return nil, used, other
end

function methods:open(engine, ctx, request, fresh)
  request.multiplexed = false
  local upstream, used, plain = multiplex(self, engine, ctx, request, fresh)
  request.multiplexed = upstream ~= nil
  if upstream or used or plain then
    return upstream or plain, used
  end
  if engine.pool and not fresh then
    upstream = engine.pool:take(key_of(self, ctx))
    if upstream then
      return ctx:own(upstream), true
    end
  end
  local err
  upstream, err = dial(self, ctx, self.node.tls_context)
  return upstream, not upstream and err or nil
end

function methods:keep(engine, ctx, request, stream)
  if not engine.pool or request.multiplexed then
    return false
  end
  origin.disown(ctx, stream)
  engine.pool:put(key_of(self, ctx), stream)
  return true
end

function methods:lasts(engine) -- luacheck: ignore self
  return engine.pool ~= nil
end

--- Say of an exchange's failure whose it is.
function methods:blame(err)
  return self.node:blame(err)
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
