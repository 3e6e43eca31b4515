-- squid as the HTTP proxy behind us.

local function server(env)
  local port = env:port()
  local config = env:config("squid.conf", [[
http_port 127.0.0.1:%d
http_access allow all
cache deny all
access_log none
cache_log /dev/null
pid_filename none
shutdown_lifetime 0 seconds
workers 1
coredump_dir %s
pinger_enable off
]], port, env:folder())
  env.output("chmod", { "a+rwx", env:folder() })
  env:start("squid", { "-N", "-f", config }, port)
  local p = env:tide("-L", "socks5://127.0.0.1:0", "-F", "http://127.0.0.1:" .. port)
  return { tcp = { kind = "socks5", port = p:port(1) } }
end

return {
  name = "squid", needs = { "squid" }, version = { "squid", "-v", pattern = "Version (%S+)" },
  pairs = { { protocol = "HTTP CONNECT", role = "server", ours = "connector http", start = server,
    cannot = { half = "squid ends a tunnel when one side of it ends." } } },
}
