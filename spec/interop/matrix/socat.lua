-- socat as the client of our proxies and of our TLS, and starting a tidegate at its standard input and output.

local proxy = require "spec.helpers.proxy"

local function listening(port)
  return ("TCP-LISTEN:%d,bind=127.0.0.1,fork,reuseaddr,backlog=512"):format(port)
end

local function client(scheme, address)
  return function(env)
    local p, port = env:tide("-L", scheme .. "://127.0.0.1:0"), env:port()
    env:start("socat", { "-t60", listening(port),
      (address:gsub("ORIGIN", env.origin_port):gsub("OURS", p:port(1))) }, port)
    return { tcp = { kind = "tcp", port = port } }
  end
end

local function secure(env)
  local port = env:port()
  env:start("socat", { "-t60", listening(port), ("OPENSSL:localhost:%d,pf=ip4,cafile=%s"):format(env:from_tls(),
    (env:certificates())) }, port)
  return { tcp = { kind = "tcp", port = port } }
end

local function executed(env)
  local port = env:port()
  env:start("socat", { listening(port),
    ("EXEC:%s --workers 1 -L stdio\\://%s"):format(proxy.executable, (env.origin:gsub(":", "\\:"))) }, port)
  return { tcp = { kind = "tcp", port = port } }
end

return {
  name = "socat", needs = { "socat" }, version = { "socat", "-V", pattern = "version (%S+)" },
  pairs = {
    { protocol = "SOCKS4", role = "client", ours = "handler socks4", quick = true,
      start = client("socks4", "SOCKS4:127.0.0.1:127.0.0.1:ORIGIN,socksport=OURS") },
    { protocol = "SOCKS4a", role = "client", ours = "handler socks4",
      start = client("socks4", "SOCKS4A:127.0.0.1:localhost:ORIGIN,socksport=OURS") },
    { protocol = "HTTP CONNECT", role = "client", ours = "handler http", quick = true,
      start = client("http", "PROXY:127.0.0.1:127.0.0.1:ORIGIN,proxyport=OURS") },
    { protocol = "TLS", role = "client", ours = "listener tls", start = secure },
    { protocol = "stdio", role = "starts it", ours = "listener stdio", start = executed, quick = true },
  },
}
