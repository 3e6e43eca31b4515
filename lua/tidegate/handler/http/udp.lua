-- UDP over HTTP: after a request with "X-Gost-Protocol: udp" both directions are UDP-TUN frames.

local reply = require "tidegate.handler.http.reply"
local udp = require "tidegate.net.udp"

local M = {}

local FORBIDDEN = reply.empty(403)

--- Make the success reply of a handler.
function M.success(md)
  local fields = md["http.header"] and next(md["http.header"]) ~= nil
    and reply.fields(md["http.header"], { ["Proxy-Agent"] = md["http.proxyAgent"] }) or ""
  return reply.status_line(200) .. fields .. "Content-Length: 0\r\n\r\n"
end

--- Serve the tunnel.  @return true | nil, err
function M.serve(self, ctx, stream)
  if not self.md.udp then
    stream:write(FORBIDDEN)
    return true
  end
  local ok, err = stream:write(self.udp_success)
  if not ok then
    return nil, err:during("reply")
  end
  stream:set_deadline(nil)
  return udp.serve_tunnel(ctx, stream, self.relay_options)
end

return M
