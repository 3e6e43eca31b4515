-- stunnel at one end of TLS.

local tls = require "spec.helpers.tls"

local CONFIG = [[
foreground = yes
debug = 4
pid =
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[one]
]]

local function start(env, port, text, ...)
  env:start("stunnel", { env:config("stunnel.conf", CONFIG .. text, ...) }, port)
end

local function server(verify)
  return function(env)
    local authority = tls.authority "matrix"
    local files, mine = tls.certificate(authority, "localhost"), tls.certificate(authority, "client")
    local port = env:port()
    start(env, port, "accept = 127.0.0.1:%d\nconnect = %s\ncert = %s\nkey = %s\nCAfile = %s\nverifyChain = %s\n",
      port, env.origin, files.cert, files.key, authority.cert, verify and "yes" or "no")
    local node = ("tcp+tls://127.0.0.1:%d?secure=true&serverName=localhost&caFile=%s"):format(port, authority.cert)
    if verify then
      node = ("%s&certFile=%s&keyFile=%s"):format(node, mine.cert, mine.key)
    end
    local p = env:tide("-L", "tcp://127.0.0.1:0/" .. env.origin, "-F", node)
    return { tcp = { kind = "tcp", port = p:port(1) } }
  end
end

local function client(verify)
  return function(env)
    local authority = tls.authority "matrix"
    local files, mine = tls.certificate(authority, "localhost"), tls.certificate(authority, "client")
    local p = env:tide("-L", ("tcp+tls://127.0.0.1:0/%s?certFile=%s&keyFile=%s%s"):format(env.origin, files.cert,
      files.key, verify and "&caFile=" .. authority.cert or ""))
    local port = env:port()
    start(env, port, "client = yes\naccept = 127.0.0.1:%d\nconnect = 127.0.0.1:%d\nCAfile = %s\nverifyChain = yes\n"
      .. "checkHost = localhost\nsni = localhost\n%s", port, p:port(1), authority.cert,
      verify and ("cert = %s\nkey = %s\n"):format(mine.cert, mine.key) or "")
    return { tcp = { kind = "tcp", port = port } }
  end
end

return {
  name = "stunnel", needs = { "stunnel" },
  version = { "stunnel", "-version", pattern = "stunnel ([%d.]+)" },
  pairs = {
    { protocol = "TLS", role = "server", ours = "dialer tls", start = server(false), quick = true },
    { protocol = "TLS", role = "client", ours = "listener tls", start = client(false), quick = true },
    { protocol = "mTLS", role = "server", ours = "dialer tls", start = server(true), quick = true },
    { protocol = "mTLS", role = "client", ours = "listener tls", start = client(true), quick = true },
  },
}
