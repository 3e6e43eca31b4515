-- stunnel at one end of TLS.

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

local function server(mutual)
  return function(env)
    local authority, files = env:certificates()
    local port = env:port()
    start(env, port, "accept = 127.0.0.1:%d\nconnect = %s\ncert = %s\nkey = %s\nCAfile = %s\nverifyChain = %s\n",
      port, env.origin, files.cert, files.key, authority, mutual and "yes" or "no")
    return env:to_tls(port, mutual)
  end
end

local function client(mutual)
  return function(env)
    local authority, _, mine = env:certificates()
    local port = env:port()
    start(env, port, "client = yes\naccept = 127.0.0.1:%d\nconnect = 127.0.0.1:%d\nCAfile = %s\nverifyChain = yes\n"
      .. "checkHost = localhost\nsni = localhost\n%s", port, env:from_tls(mutual), authority,
      mutual and ("cert = %s\nkey = %s\n"):format(mine.cert, mine.key) or "")
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
