-- HTTP/2 in a tunnel or for a forwarder: each of its requests is served as one of HTTP/1.1.

local h2 = require "tidegate.native.h2"
local http = require "tidegate.handler.sniffing.http"
local listen = require "tidegate.net.h2.listen"

local M = {}

local STREAMS = 1000
local HEADER_TIMEOUT = 60

--- Serve a connection that begins with the preface of HTTP/2.
-- @return true | nil, err
function M.serve(engine, ctx, stream, way)
  local session = h2.start(stream, { max_streams = STREAMS, connect_protocol = true })
  return ctx.service:serve_streams(ctx, session, function(one, carried)
    carried:set_deadline(one:after(HEADER_TIMEOUT))
    local headers, err = h2.headers(carried, true)
    if not headers then
      return nil, err
    end
    carried:set_deadline(nil)
    local upper, same = h2.http1(carried)
    if not upper then
      return listen.refuse(same, 400, "no request that could be forwarded")
    end
    one.stream, one.carrier_of_h2 = upper, true
    one.network, one.target, one.path, one.node = ctx.network, ctx.target, rawget(ctx, "path"), ctx.node
    return http.serve(engine, one, upper, way)
  end)
end

return M
