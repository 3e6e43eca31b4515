-- gost v3, when the environment variable GOST names its executable.

local shadowsocks = require "spec.helpers.shadowsocks"

local GOST = os.getenv "GOST"

local HALF = "gost ends a tunnel when one direction of it has ended."
local BOTH = "?udp=true"
local DROPS = "gost's otls server drops what is beyond 16 KiB of its first answer, towards gost too: the 64 MiB begin "
  .. "after a small answer."
local LOSES = "gost's otls client loses bytes when one of its reads ends within a record's head, from a gost as well: "
  .. "then the 64 MiB stop, about once in ten times."

-- Transports: keys that both ends have in their URLs.
local TRANSPORTS = {
  { "tls" }, { "mtls" }, { "mtcp" }, { "ws" }, { "wss" }, { "mws" }, { "mwss" }, { "h2" }, { "h2c" }, { "grpc" },
  { "grpc", "?grpc.insecure=true", name = "grpc in clear" }, { "pht" }, { "phts" }, { "ohttp" }, { "otls" }, { "ssh" },
}
-- Proxies: protocol, keys, whether it carries UDP.
local PROXIES = {
  { "http" }, { "socks4" }, { "socks5", BOTH, true }, { "relay", "?bind=true", true }, { "http2" }, { "sshd" },
}

local function tunnel(listen, udp)
  return { tcp = { kind = "socks5", port = listen }, udp = udp and { kind = "socks5", port = listen } or nil }
end

local function gost_serves(scheme, query, udp)
  return function(env)
    local port = env:port()
    env:start(GOST, { "-L", ("%s://127.0.0.1:%d%s"):format(scheme, port, query or "") }, port)
    local p = env:tide("-L", "socks5://127.0.0.1:0?udp=true", "-F",
      ("%s://127.0.0.1:%d%s"):format(scheme, port, query or ""))
    return tunnel(p:port(1), udp)
  end
end

local function gost_connects(scheme, query, udp)
  return function(env)
    local far, port = env:port(), env:port()
    env:tide("-L", ("%s://127.0.0.1:%d%s"):format(scheme, far, query or ""))
    env:start(GOST, { "-L", ("socks5://127.0.0.1:%d?udp=true"):format(port), "-F",
      ("%s://127.0.0.1:%d%s"):format(scheme, far, query or "") }, port)
    return tunnel(port, udp)
  end
end

-- Remote forwarding: who asks, who listens.
local function gost_listens(env)
  local far, port = env:port(), env:port()
  env:start(GOST, { "-L", ("relay://127.0.0.1:%d?bind=true"):format(far) }, far)
  env:tide("-L", ("rtcp://127.0.0.1:%d/%s"):format(port, env.origin), "-F", "relay://127.0.0.1:" .. far)
  env:wait_port(port)
  return { tcp = { kind = "tcp", port = port } }
end

local function gost_asks(env)
  local far, port = env:tide("-L", "relay://127.0.0.1:0?bind=true"), env:port()
  env:start(GOST, { "-L", ("rtcp://127.0.0.1:%d/%s"):format(port, env.origin),
    "-F", "relay://127.0.0.1:" .. far:port(1) }, port)
  return { tcp = { kind = "tcp", port = port } }
end

-- The same for datagrams.
local function gost_listens_for_udp(scheme)
  return function(env)
    local far, port = env:port(), env:port()
    env:start(GOST, { "-L", ("%s://127.0.0.1:%d?bind=true&udp=true"):format(scheme, far) }, far)
    local p = env:tide("-L", ("rudp://127.0.0.1:%d/%s"):format(port, env.udp), "-F",
      ("%s://127.0.0.1:%d"):format(scheme, far))
    p:logged "bound "
    return { udp = { kind = "udp", port = port } }
  end
end

local function gost_asks_for_udp(scheme)
  return function(env)
    local far, port = env:tide("-L", scheme .. "://127.0.0.1:0?bind=true&udp=true"), env:port()
    env:start(GOST, { "-L", ("rudp://127.0.0.1:%d/%s"):format(port, env.udp), "-F",
      ("%s://127.0.0.1:%d"):format(scheme, far:port(1)) })
    far:logged("<-> 127.0.0.1:" .. port, true)
    return { udp = { kind = "udp", port = port } }
  end
end

local rows = {}

local function add(protocol, role, ours, begin)
  local row = { protocol = protocol, role = role, ours = ours, start = begin, cannot = { half = HALF } }
  if protocol == "relay over otls" and role == "server" then
    row.note = DROPS
    row.start = function(env)
      local ways = begin(env)
      ways.tcp.greet = true
      return ways
    end
  elseif protocol == "relay over otls" then
    row.note, row.unsure = LOSES, { bulk = LOSES }
  end
  rows[#rows + 1] = row
end

for _, one in ipairs(PROXIES) do
  local name, query, udp = one[1], one[2], one[3]
  add(name, "server", "connector " .. name, gost_serves(name, query, udp))
  add(name, "client", "handler " .. name, gost_connects(name, query, udp))
end
for _, one in ipairs(TRANSPORTS) do
  local name, query = one[1], one[2]
  add("relay over " .. (one.name or name), "server", "dialer " .. name, gost_serves("relay+" .. name, query))
  add("relay over " .. (one.name or name), "client", "listener " .. name, gost_connects("relay+" .. name, query))
end
add("relay bind", "server", "listener rtcp", gost_listens)
add("relay bind", "client", "handler relay", gost_asks)
for _, scheme in ipairs { "relay", "socks5" } do
  add(scheme .. " bind, UDP", "server", "listener rudp", gost_listens_for_udp(scheme))
  add(scheme .. " bind, UDP", "client", "handler " .. scheme, gost_asks_for_udp(scheme))
  rows[#rows - 1].cannot, rows[#rows].cannot = nil, nil
end

local function ss_serve(env, method, port)
  env:start(GOST, { "-L", ("ss://%s:%d"):format(shadowsocks.url(method), port),
    "-L", ("ssu://%s:%d?keepalive=true&ttl=30s"):format(shadowsocks.url(method), port) }, port)
end

local function ss_connect(scheme)
  return function(env, method, port, far)
    env:start(GOST, { "-L", ("socks5://127.0.0.1:%d?udp=true"):format(port),
      "-F", ("%s://%s:%d"):format(scheme, shadowsocks.url(method), far) }, port)
  end
end

for _, row in ipairs(shadowsocks.pairs {
  methods = { "aes-256-gcm", "aes-128-gcm", "chacha20-ietf-poly1305", "2022-blake3-aes-128-gcm",
    "2022-blake3-aes-256-gcm", "none" },
  serve = ss_serve, connect = ss_connect "ss", connect_udp = ss_connect "ssu", query = "?gost=true",
  cannot = { server = { half = HALF }, client = { half = HALF } },
}) do
  rows[#rows + 1] = row
end

return {
  name = "gost", version = { GOST or "gost", "-V", pattern = "gost v?(%S+)" }, pairs = rows,
  missing = function()
    return not GOST and "the environment variable GOST names no executable of it" or nil
  end,
}
