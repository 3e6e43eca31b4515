-- nginx in front of us, behind us and between two of us.

local CONFIG = [[
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid %s/nginx.pid;
error_log stderr warn;
events { worker_connections 2048; }
%s {
  %s
  server {
    listen 127.0.0.1:%d%s;
    ssl_certificate %s;
    ssl_certificate_key %s;
    %s
  }
}
]]

local HTTP = "access_log off; keepalive_timeout 60s; client_max_body_size 0; client_body_temp_path %s/body;"
local WS = [[
    location /tunnel {
      proxy_pass http://127.0.0.1:%d;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }
]]
local STREAM = "proxy_half_close on;"
local GRPC = {
  half = { up = "The client's half-close is passed on; when the server has ended its side of a call, nginx ends the "
    .. "call." },
}

-- Start nginx with a server of a block ("http" or "stream").
local function start(env, block, port, flags, body)
  local authority, files = env:certificates()
  local folder = env:folder()
  local text = CONFIG:format(folder, block, block == "http" and HTTP:format(folder) or STREAM, port, flags, files.cert,
    files.key, body)
  env:start("nginx", { "-c", env:config("nginx.conf", "%s", text), "-e", "stderr", "-p", folder }, port)
  return authority
end

local function trusted(authority)
  return "secure=true&serverName=localhost&caFile=" .. authority
end

local function websocket(scheme)
  return function(env)
    local far, port = env:tide("-L", ("socks5+%s://127.0.0.1:0?path=/tunnel"):format(scheme)), env:port()
    local authority = start(env, "http", port, " ssl", WS:format(far:port(1)))
    local p = env:tide("-L", "socks5://127.0.0.1:0", "-F", ("socks5+%s://127.0.0.1:%d?path=/tunnel&%s"):format(
      scheme:gsub("ws$", "wss"), port, trusted(authority)))
    return { tcp = { kind = "socks5", port = p:port(1) } }
  end
end

local function grpc(env)
  local far, port = env:tide("-L", "socks5+grpc://127.0.0.1:0?grpc.insecure=true"), env:port()
  local authority = start(env, "http", port, " ssl http2",
    ("location / { grpc_pass grpc://127.0.0.1:%d; grpc_read_timeout 60s; grpc_send_timeout 60s; }"):format(far:port(1)))
  local p = env:tide("-L", "socks5://127.0.0.1:0", "-F", ("socks5+grpc://127.0.0.1:%d?%s"):format(port,
    trusted(authority)))
  return { tcp = { kind = "socks5", port = p:port(1) } }
end

-- nginx ends our TLS.
local function tls_server(mutual)
  return function(env)
    local port, authority = env:port(), env:certificates()
    start(env, "stream", port, " ssl", ("proxy_pass %s;\n%s"):format(env.origin,
      mutual and ("ssl_verify_client on; ssl_client_certificate %s;"):format(authority) or ""))
    return env:to_tls(port, mutual)
  end
end

-- nginx speaks TLS to us.
local function tls_client(mutual)
  return function(env)
    local authority, _, mine = env:certificates()
    local port = env:port()
    start(env, "stream", port, "", ([[
      proxy_pass 127.0.0.1:%d;
      proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate %s; proxy_ssl_name localhost; %s]]):format(
      env:from_tls(mutual), authority,
      mutual and ("proxy_ssl_certificate %s; proxy_ssl_certificate_key %s;"):format(mine.cert, mine.key) or ""))
    return { tcp = { kind = "tcp", port = port } }
  end
end

-- nginx tells us its client by the PROXY protocol.
local function proxy_protocol(env)
  local far, port = env:tide("-L", ("tcp://127.0.0.1:0/%s?proxyProtocol=1"):format(env.origin)), env:port()
  start(env, "stream", port, "", ("proxy_pass 127.0.0.1:%d; proxy_protocol on;"):format(far:port(1)))
  return { tcp = { kind = "tcp", port = port } }
end

return {
  name = "nginx", needs = { "nginx" }, version = { "nginx", "-v", pattern = "nginx/(%S+)" },
  pairs = {
    { protocol = "wss to ws", role = "between", ours = "dialer wss, listener ws", start = websocket "ws",
      quick = true },
    { protocol = "mwss to mws", role = "between", ours = "dialer mwss, listener mws", start = websocket "mws",
      quick = true },
    { protocol = "grpc_pass", role = "between", ours = "dialer grpc, listener grpc", start = grpc, quick = true,
      cannot = GRPC },
    { protocol = "TLS", role = "server", ours = "dialer tls", start = tls_server(false), quick = true },
    { protocol = "mTLS", role = "server", ours = "dialer tls", start = tls_server(true), quick = true },
    { protocol = "TLS", role = "client", ours = "listener tls", start = tls_client(false), quick = true },
    { protocol = "mTLS", role = "client", ours = "listener tls", start = tls_client(true), quick = true },
    { protocol = "PROXY v1", role = "client", ours = "listener tcp", start = proxy_protocol, quick = true },
  },
}
