-- TLS on the auto handler: passed through to the name its ClientHello asks for, port 443.

local client_hello = require "tidegate.native.client_hello"
local failure = require "tidegate.failure"

local HELLO_TIMEOUT = 15 -- seconds

return function(ctx, stream)
  stream:set_deadline(ctx:after(HELLO_TIMEOUT))
  local hello, err = stream:receive(client_hello.hello)
  if not hello then
    return nil, err:during "client hello"
  elseif not hello.server_name then
    return nil, failure.new("protocol", "TLS without a server name: nowhere to go")
  end
  stream:set_deadline(nil)
  local ok
  ok, err = stream:unread(hello.bytes)
  if not ok then
    return nil, err
  end
  ctx.sniffed = { protocol = "tls", host = hello.server_name }
  local upstream
  upstream, err = ctx:connect("tcp", hello.server_name .. ":443")
  if not upstream then
    return nil, err
  end
  return ctx:relay(stream, upstream)
end
