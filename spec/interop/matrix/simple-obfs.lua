-- simple-obfs: HTTP and TLS disguise.

local HALF = "obfs-local and obfs-server end a tunnel when one side of it ends."
local MODES = { { "ohttp", "http" }, { "otls", "tls" } }

local function client(transport, mode)
  return function(env)
    local p = env:tide("-L", ("forward+%s://127.0.0.1:0/%s"):format(transport, env.origin))
    local port = env:port()
    env:start("obfs-local", { "-s", "127.0.0.1", "-p", p:port(1), "-b", "127.0.0.1", "-l", port, "--obfs", mode,
      "--obfs-host", "www.example.com" }, port)
    return { tcp = { kind = "tcp", port = port } }
  end
end

local function server(transport, mode)
  return function(env)
    local port = env:port()
    env:start("obfs-server", { "-s", "127.0.0.1", "-p", port, "--obfs", mode, "-r", env.origin }, port)
    local p = env:tide("-L", "tcp://127.0.0.1:0/x:1", "-F",
      ("forward+%s://127.0.0.1:%d?host=www.example.com"):format(transport, port))
    return { tcp = { kind = "tcp", port = p:port(1) } }
  end
end

local rows = {}
for _, mode in ipairs(MODES) do
  rows[#rows + 1] = { protocol = "obfs " .. mode[2], role = "client", ours = "listener " .. mode[1], quick = true,
    start = client(mode[1], mode[2]), cannot = { half = HALF } }
  rows[#rows + 1] = { protocol = "obfs " .. mode[2], role = "server", ours = "dialer " .. mode[1], quick = true,
    start = server(mode[1], mode[2]), cannot = { half = HALF } }
end

return {
  name = "simple-obfs", needs = { "obfs-local", "obfs-server" },
  version = { "obfs-local", "--help", pattern = "simple%-obfs ([%d.]+)" }, pairs = rows,
}
