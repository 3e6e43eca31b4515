-- TLS on the auto handler: on to the name its ClientHello asks for, port 443; passed through, or intercepted
-- where the handler looks into its tunnels.

local tls = require "tidegate.handler.sniffing.tls"
local tunnel = require "tidegate.handler.sniffing.tunnel"

local PASSING = { md = { readTimeout = 15 } } -- for a handler that does not look

--- @param engine the handler's sniffer, or nil
return function(engine, ctx, stream)
  return tls.serve(engine or PASSING, ctx, stream, tunnel.by_name(ctx))
end
