-- HTTP/2 (or HTTP/1.1, as TLS agrees) for proxies: a handler sees each request in the shape of HTTP/1.1.

local component = require "tidegate.component"
local h2 = require "tidegate.native.h2"
local listen = require "tidegate.net.h2.listen"

return component.listener "http2" {
  doc = "HTTP/2 over TLS for the handler http2; HTTP/1.1 for clients that know nothing else",
  network = "tcp",
  metadata = listen.with {},

  open = function(self)
    return listen.open_tls(self, { "h2", "http/1.1" })
  end,

  accept = function(self, ctx, stream)
    local upper, protocol = listen.secure(self, ctx, stream)
    if not upper then
      return nil, protocol
    elseif protocol == "h2" then
      return listen.session(self, ctx, upper)
    end
    return upper
  end,

  accept_stream = function(_, ctx, stream)
    local headers, err = h2.headers(stream, true)
    if not headers then
      return nil, err
    end
    listen.name_client(ctx, headers)
    local upper, same = h2.http1(stream)
    if upper then
      return upper
    end
    return listen.refuse(same, 400, "no request for a proxy")
  end,
}
