-- microsocks as the proxy behind us.

local function server(env)
  local port = env:port()
  env:start("microsocks", { "-i", "127.0.0.1", "-p", port }, port)
  local p = env:tide("-L", "socks5://127.0.0.1:0", "-F", "socks5://127.0.0.1:" .. port)
  return { tcp = { kind = "socks5", port = p:port(1) } }
end

return {
  name = "microsocks", needs = { "microsocks" },
  version = { "dpkg-query", "-W", "-f", "${Version}", "microsocks", pattern = "%S+" },
  pairs = { { protocol = "SOCKS5", role = "server", ours = "connector socks5", start = server, quick = true,
    cannot = { half = "microsocks ends a tunnel when one side of it ends." } } },
}
