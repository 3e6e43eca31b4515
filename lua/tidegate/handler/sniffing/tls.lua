-- TLS in a tunnel or for a forwarder: passed through by the name it asks for, or intercepted.

local client_hello = require "tidegate.native.client_hello"
local hello_object = require "tidegate.handler.sniffing.hello"
local http = require "tidegate.handler.sniffing.http"
local lazy = require "tidegate.lazy"
local mitm = lazy "tidegate.handler.sniffing.mitm"
local record = require "tidegate.process.record"

local M = {}

local HELLO_TIMEOUT = 15 -- seconds, from the first byte
local PORT = ":443"

-- The ClientHello goes on unchanged.
local function pass_through(engine, ctx, stream, upstream, hello)
  local ok, err
  if not (ctx.service and record.wanted(ctx)) then
    ok, err = stream:unread(hello.bytes)
    if not ok then
      return nil, err
    end
    return ctx:relay(stream, upstream, engine.relay_options)
  end
  upstream:set_deadline(ctx:after(engine.md.readTimeout))
  ok, err = upstream:write(hello.bytes)
  if not ok then
    return nil, err:during "client hello"
  end
  local answer = hello_object.receive(upstream, ctx:after(engine.md.readTimeout))
  ctx.recorded = { proto = "tls", tls = hello_object.object(hello, answer) }
  return ctx:relay(stream, upstream, engine.relay_options)
end

--- Serve a connection that begins like TLS.
-- @return true | nil, err
function M.serve(engine, ctx, stream, way)
  stream:set_deadline(ctx:after(HELLO_TIMEOUT))
  local hello, err = stream:receive(client_hello.hello)
  stream:set_deadline(nil)
  if not hello then
    return nil, err:during "client hello"
  end
  local name = hello.server_name
  local host = name and name .. PORT
  ctx.sniffed = { protocol = "tls", host = name }
  local ok
  ok, err = http.allowed(ctx, host)
  if not ok then
    return nil, err
  end
  local upstream
  upstream, err = way:connect(ctx, { proto = "tls", host = host })
  if not upstream then
    return nil, err
  end
  if mitm.wants(engine.mitm, ctx, hello, host) then
    return mitm.serve(engine, ctx, stream, upstream, way, hello)
  end
  return pass_through(engine, ctx, stream, upstream, hello)
end

return M
