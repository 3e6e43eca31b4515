-- Dante as the proxy behind us, TCP and UDP.

local uv = require "luv"

local function server(scheme, query)
  return function(env)
    local port = env:port()
    local config = env:config("danted.conf", "%s\n", table.concat({
      "errorlog: /dev/null", "internal: 127.0.0.1 port = " .. port, "external: lo",
      "socksmethod: none", "clientmethod: none", uv.getuid() == 0 and "user.unprivileged: nobody" or "",
      "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }", "socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }",
    }, "\n"))
    env:start("danted", { "-f", config, "-p", env:folder() .. "/pid" }, port)
    local p = env:tide("-L", "socks5://127.0.0.1:0?udp=true",
      "-F", ("%s://127.0.0.1:%d%s"):format(scheme, port, query))
    local way = { kind = "socks5", port = p:port(1) }
    return { tcp = way, udp = scheme == "socks5" and way or nil }
  end
end

return {
  name = "dante", needs = { "danted" }, version = { "danted", "-v", pattern = "v(%d+%.%d+%.%d+)" },
  pairs = {
    { protocol = "SOCKS5", role = "server", ours = "connector socks5", quick = true,
      start = server("socks5", "?relay=udp") },
    { protocol = "SOCKS4", role = "server", ours = "connector socks4", quick = true,
      start = server("socks4", "?disable4a=true") },
  },
}
