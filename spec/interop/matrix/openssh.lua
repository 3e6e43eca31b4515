-- OpenSSH: its client against our server, its server as our way.

local ssh = require "spec.helpers.ssh"

local function client(flag)
  return function(env)
    local keys = ssh.keys()
    local p = env:tide("-L", ("sshd://127.0.0.1:0?privateKeyFile=%s/host&authorizedKeys=%s/authorized"):format(keys,
      keys))
    local port = env:port()
    local forward = { flag, flag == "-D" and "127.0.0.1:" .. port or ("127.0.0.1:%d:%s"):format(port, env.origin) }
    env:start("ssh", ssh.args(p:port(1), { key = keys .. "/user", "-N", "-o", "ExitOnForwardFailure=yes",
      unpack(forward) }), port)
    return { tcp = { kind = flag == "-D" and "socks5" or "tcp", port = port } }
  end
end

local function node(port, keys)
  return ("sshd://root@127.0.0.1:%d?privateKeyFile=%s/user"):format(port, keys)
end

local function server(env)
  local keys = ssh.keys()
  local p = env:tide("-L", "socks5://127.0.0.1:0", "-F", node(ssh.server(keys), keys))
  return { tcp = { kind = "socks5", port = p:port(1) } }
end

local function server_listens(env)
  local keys = ssh.keys()
  local port = env:port()
  env:tide("-L", ("rtcp://127.0.0.1:%d/%s"):format(port, env.origin), "-F", node(ssh.server(keys), keys))
  env:wait_port(port)
  return { tcp = { kind = "tcp", port = port } }
end

return {
  name = "openssh", needs = { "ssh", "sshd" }, version = { "ssh", "-V", pattern = "OpenSSH_(%S-),?%s" },
  pairs = {
    { protocol = "ssh -D", role = "client", ours = "listener sshd", start = client "-D", quick = true },
    { protocol = "ssh -L", role = "client", ours = "listener sshd", start = client "-L" },
    { protocol = "ssh -R", role = "client", ours = "listener sshd", start = client "-R", quick = true },
    { protocol = "direct-tcpip", role = "server", ours = "dialer sshd", start = server, quick = true },
    { protocol = "tcpip-forward", role = "server", ours = "listener rtcp over sshd", start = server_listens,
      quick = true },
  },
}
