-- UDP over HTTP: after a request with "X-Gost-Protocol: udp" both directions are UDP-TUN frames.

local reply = require "tidegate.handler.http.reply"
local udp = require "tidegate.net.udp"

local M = {}

--- Make the reply of a handler: what was agreed, or that it is not allowed here.
function M.reply(md)
  local fields = md["http.header"] and next(md["http.header"]) ~= nil
    and reply.fields(md["http.header"], { ["Proxy-Agent"] = md["http.proxyAgent"] }) or ""
  return reply.status_line(md.udp and 200 or 403) .. fields .. "Content-Length: 0\r\n\r\n"
end

--- Serve the tunnel.  @return true | nil, err
function M.serve(self, ctx, stream)
  local ok, err = stream:write(self.udp_reply)
  if not ok then
    return nil, err:during("reply")
  elseif not self.md.udp then
    return true
  end
  stream:set_deadline(nil)
  return udp.serve_tunnel(ctx, stream, self.relay_options)
end

return M
