-- v2ray: Shadowsocks, and SOCKS5 over its WebSocket and HTTP/2 transports.

local json = require "cjson"
local shadowsocks = require "spec.helpers.shadowsocks"

local HALF = "v2ray ends a tunnel shortly after one side of it ends."

local ABRUPT = "v2ray's client keeps its tunnel for minutes when the program it serves is reset; it does so without "
  .. "tidegate as well."
local SERVER, CLIENT = { half = HALF }, { half = HALF, abrupt = ABRUPT }

local function run(env, port, inbound, outbound)
  inbound.listen, inbound.port = "127.0.0.1", port
  local path = env:config(("v2ray-%d.json"):format(port), "%s", json.encode {
    log = { loglevel = "warning" }, inbounds = { inbound }, outbounds = { outbound },
  })
  env:start("v2ray", { "-config", path }, port)
end

local function ss_serve(env, method, port)
  run(env, port, { protocol = "shadowsocks", settings = { method = method, password = "secret",
    network = "tcp,udp" } }, { protocol = "freedom" })
end

local function ss_connect(env, method, port, far)
  run(env, port, { protocol = "socks", settings = { udp = true, ip = "127.0.0.1" } },
    { protocol = "shadowsocks", settings = { servers = {
      { address = "127.0.0.1", port = far, method = method, password = "secret" } } } })
end

-- streamSettings of a transport; the certificate is the server's.
local function transport(name, files, authority)
  local security
  if files then
    security = { certificates = { { certificateFile = files.cert, keyFile = files.key } } }
  elseif authority then
    security = { allowInsecure = true, serverName = "localhost" }
  end
  return {
    network = name == "h2" and "http" or "ws", security = security and "tls" or "none", tlsSettings = security,
    wsSettings = { path = "/v2" }, httpSettings = { path = "/v2", host = { "localhost" } },
  }
end

local function serve(scheme, name)
  return function(env)
    local port = env:port()
    local files = scheme ~= "ws" and select(2, env:certificates())
    run(env, port, { protocol = "socks", settings = { auth = "noauth" }, streamSettings = transport(name, files) },
      { protocol = "freedom" })
    local p = env:tide("-L", "socks5://127.0.0.1:0",
      "-F", ("socks5+%s://127.0.0.1:%d?path=/v2&host=localhost"):format(scheme, port))
    return { tcp = { kind = "socks5", port = p:port(1) } }
  end
end

local function client(scheme, name)
  return function(env)
    local authority, files = env:certificates()
    local far = env:tide("-L", ("socks5+%s://127.0.0.1:0?path=/v2%s"):format(scheme,
      scheme == "ws" and "" or ("&certFile=%s&keyFile=%s"):format(files.cert, files.key)))
    local port = env:port()
    run(env, port, { protocol = "socks", settings = { auth = "noauth" } },
      { protocol = "socks", settings = { servers = { { address = "127.0.0.1", port = far:port(1) } } },
        streamSettings = transport(name, nil, scheme ~= "ws" and authority) })
    return { tcp = { kind = "socks5", port = port } }
  end
end

local rows = shadowsocks.pairs {
  methods = { "aes-256-gcm", "aes-128-gcm", "chacha20-ietf-poly1305" },
  serve = ss_serve, connect = ss_connect, quick = 3, cannot = { server = SERVER, client = CLIENT },
}
for _, kind in ipairs { { "ws", "ws" }, { "wss", "ws" }, { "h2", "h2" } } do
  rows[#rows + 1] = { protocol = "socks5 over " .. kind[1], role = "server", ours = "dialer " .. kind[1],
    quick = true, start = serve(kind[1], kind[2]), cannot = SERVER }
  rows[#rows + 1] = { protocol = "socks5 over " .. kind[1], role = "client", ours = "listener " .. kind[1],
    quick = true, start = client(kind[1], kind[2]), cannot = CLIENT }
end

return {
  name = "v2ray", needs = { "v2ray" }, version = { "v2ray", "-version", pattern = "V2Ray ([%d.]+)" }, pairs = rows,
}
