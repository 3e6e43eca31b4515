-- HAProxy in front of us, behind us and between two of us.

local tls = require "spec.helpers.tls"

local CONFIG = [[
global
  maxconn 1000
  tune.h2.max-concurrent-streams 200
defaults
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
frontend f
  mode %s
  bind 127.0.0.1:%d %s
  default_backend b
backend b
  mode %s
  server s %s
]]

-- Start haproxy; `bind` may hold %s for the certificate.
local function start(env, mode, port, bind, server)
  local _, files = env:certificates()
  local both = env:config("both.pem", "%s%s", tls.read(files.cert), tls.read(files.key))
  local path = env:config("haproxy.cfg", "%s", CONFIG:format(mode, port, bind:gsub("CERT", both), mode, server))
  env:start("haproxy", { "-db", "-f", path }, port)
end

local function trusted(env)
  return "secure=true&serverName=localhost&caFile=" .. env:certificates()
end

-- Between two of us: TLS to haproxy, in clear behind it.
local function between(near, far, bind, server, keys)
  return function(env)
    local back, port = env:tide("-L", ("socks5+%s://127.0.0.1:0?%s"):format(far, keys or "")), env:port()
    start(env, "http", port, "ssl crt CERT " .. bind, ("127.0.0.1:%d %s"):format(back:port(1), server))
    local p = env:tide("-L", "socks5://127.0.0.1:0", "-F", ("socks5+%s://127.0.0.1:%d?%s&%s"):format(near, port,
      trusted(env), near ~= "grpc" and keys or ""))
    return { tcp = { kind = "socks5", port = p:port(1) } }
  end
end

local function tls_server(mutual)
  return function(env)
    local port, authority = env:port(), env:certificates()
    start(env, "tcp", port, "ssl crt CERT" .. (mutual and " verify required ca-file " .. authority or ""), env.origin)
    return env:to_tls(port, mutual)
  end
end

local function tls_client(mutual)
  return function(env)
    local authority, _, mine = env:certificates()
    local port = env:port()
    local own = env:config("client.pem", "%s%s", tls.read(mine.cert), tls.read(mine.key))
    start(env, "tcp", port, "", ("127.0.0.1:%d ssl verify required ca-file %s verifyhost localhost %s"):format(
      env:from_tls(mutual), authority, mutual and "crt " .. own or ""))
    return { tcp = { kind = "tcp", port = port } }
  end
end

local function tells(version)
  return function(env)
    local far, port = env:tide("-L", ("tcp://127.0.0.1:0/%s?proxyProtocol=1"):format(env.origin)), env:port()
    start(env, "tcp", port, "", ("127.0.0.1:%d %s"):format(far:port(1), version))
    return { tcp = { kind = "tcp", port = port } }
  end
end

local function is_told(version)
  return function(env)
    local port = env:port()
    start(env, "tcp", port, "accept-proxy", env.origin)
    local p = env:tide("-L", "tcp://127.0.0.1:0/" .. env.origin, "-F",
      ("tcp://127.0.0.1:%d?proxyProtocol=%d"):format(port, version))
    return { tcp = { kind = "tcp", port = p:port(1) } }
  end
end

local rows = {}

local function add(protocol, role, ours, start_pair, half)
  rows[#rows + 1] = { protocol = protocol, role = role, ours = ours, start = start_pair, quick = true,
    cannot = half and { half = half } or nil }
end

add("wss to ws", "between", "dialer wss, listener ws", between("wss", "ws", "", ""))
add("h2 to h2c", "between", "dialer h2, listener h2c", between("h2", "h2c", "alpn h2", "proto h2", "path=/tunnel"))
add("grpc", "between", "dialer grpc, listener grpc",
  between("grpc", "grpc", "alpn h2", "proto h2", "grpc.insecure=true"))
add("TLS", "server", "dialer tls", tls_server(false))
add("mTLS", "server", "dialer tls", tls_server(true))
add("TLS", "client", "listener tls", tls_client(false))
add("mTLS", "client", "listener tls", tls_client(true))
add("PROXY v1", "client", "listener tcp", tells "send-proxy")
add("PROXY v2", "client", "listener tcp", tells "send-proxy-v2")
add("PROXY v1", "server", "dialer tcp", is_told(1))
add("PROXY v2", "server", "dialer tcp", is_told(2))

return {
  name = "haproxy", needs = { "haproxy" }, version = { "haproxy", "-v", pattern = "version (%S+)" }, pairs = rows,
}
