-- tinyproxy as the HTTP proxy behind us and as our client.

local HALF = { half = "tinyproxy ends a tunnel when one side of it ends." }

local function start(env, upstream)
  local port = env:port()
  local config = env:config("tinyproxy.conf", "Port %d\nListen 127.0.0.1\nTimeout 60\nLogLevel Critical\n"
    .. "MaxClients 300\nAllow 127.0.0.1\n%s", port, upstream or "")
  env:start("tinyproxy", { "-d", "-c", config }, port)
  return port
end

local function server(env)
  local p = env:tide("-L", "socks5://127.0.0.1:0", "-F", "http://127.0.0.1:" .. start(env))
  return { tcp = { kind = "socks5", port = p:port(1) } }
end

local function client(env)
  local p = env:tide("-L", "http://127.0.0.1:0")
  return { tcp = { kind = "connect", port = start(env, ("Upstream http 127.0.0.1:%d\n"):format(p:port(1))) } }
end

return {
  name = "tinyproxy", needs = { "tinyproxy" }, version = { "tinyproxy", "-v", pattern = "tinyproxy (%S+)" },
  pairs = {
    { protocol = "HTTP CONNECT", role = "server", ours = "connector http", start = server, quick = true,
      cannot = HALF },
    { protocol = "HTTP CONNECT", role = "client", ours = "handler http", start = client, quick = true, cannot = HALF },
  },
}
