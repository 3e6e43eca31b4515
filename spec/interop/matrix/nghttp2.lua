-- nghttp2's programs: nghttp and h2load as clients of our reverse proxy, nghttpx as a proxy before and behind us.

local http = require "spec.helpers.interop_http"
local tls = require "spec.helpers.tls"

local TUNNEL = { half = "nghttpx does not pass the half-close of a CONNECT on." }
local HTTP = { half = "HTTP has no half-close." }

local nghttp = {}

function nghttp.get(env, path, file)
  env.output("sh", { "-c", ("exec nghttp --no-dep %s%s > %s"):format(env.base, path, file) }, { seconds = 130 })
end

function nghttp.put(env, file, path)
  env.output("nghttp", { "--no-dep", "-H", ":method: PUT", "-d", file, env.base .. path }, { seconds = 130 })
end

function nghttp.many(env, path, count)
  local said = env.output("nghttp", { "--no-dep", "-ns", "-m", tostring(count), env.base .. path })
  local _, good = said:gsub("%f[%w]200 ", "")
  assert(good >= count, said)
end

function nghttp.slow(env, path)
  return env:start("nghttp", { "--no-dep", "-v", "-w", "16", env.base .. path })
end

local function load(env, count, ...)
  local said = env.output("h2load", { "-n", tostring(count), "-m", tostring(math.min(count, 100)), ... },
    { seconds = 130 })
  local good = said:match "(%d+) 2xx"
  assert(tonumber(good) == count, said)
  return env, said
end

local h2load = {}

function h2load.small(env)
  load(env, 1, "-c", "1", env.base .. "/hello")
end

function h2load.bulk(env, sizes)
  local size = sizes.mib * 1048576
  env.output("sh", { "-c", ("head -c %d /dev/urandom > %s/big"):format(size, env.www) })
  local _, said = load(env, 1, "-c", "1", env.base .. "/big")
  assert(tonumber(said:match "%((%d+)%) data") == size, said)
  load(env, 1, "-c", "1", "-H", ":method: PUT", "-d", env.www .. "/big", env.base .. "/up/new")
  assert(tls.read(env.www .. "/big") == tls.read(env.www .. "/up/new"), "other bytes went up")
end

function h2load.many(env, sizes)
  load(env, sizes.many * 10, "-c", "10", env.base .. "/hello")
end

function h2load.abrupt(env)
  local program = env:start("stdbuf", { "-oL", "h2load", "-n", "20000", "-c", "10", "-m", "10", env.base .. "/hello" },
    nil, { ready = "progress: 10%%" })
  program:stop "sigkill"
  h2load.small(env)
end

local function reverse(clear, h2)
  return function(env)
    env.base = http.reverse(env, clear, h2)
  end
end

local function nghttpx(env, ...)
  local _, files = env:certificates()
  local port = env:port()
  env:start("nghttpx", { ("-f127.0.0.1,%d"):format(port), "--workers=1", "--no-ocsp", "--errorlog-file=/dev/stderr",
    "--accesslog-file=/dev/null", "--backend-connections-per-host=200", "--frontend-http2-max-concurrent-streams=200",
    "--insecure", files.key, files.cert, ... }, port)
  return port
end

-- Our connector http2, nghttpx as the proxy, our handler behind it.
local function proxied(back, options)
  return function(env)
    local far = env:tide("-L", back .. "://127.0.0.1:0")
    local port = nghttpx(env, "--http2-proxy", ("-b127.0.0.1,%d%s"):format(far:port(1), options))
    local p = env:tide("-L", "socks5://127.0.0.1:0", "-F", "http2://127.0.0.1:" .. port)
    return { tcp = { kind = "socks5", port = p:port(1) } }
  end
end

local rows = {}

local function add(protocol, role, ours, start, checks, cannot)
  rows[#rows + 1] = { protocol = protocol, role = role, ours = ours, start = start, checks = checks, cannot = cannot,
    quick = true }
end

for _, clear in ipairs { false, true } do
  local name = clear and "HTTP/2 in clear" or "HTTP/2 over TLS"
  add(name, "client nghttp", "reverse proxy to nginx", reverse(clear), http.checks(nghttp), HTTP)
  add(name, "client h2load", "reverse proxy to nginx", reverse(clear), h2load, HTTP)
end
add("HTTP/2 on both sides", "client nghttp", "reverse proxy to nginx", reverse(false, true), http.checks(nghttp), HTTP)
add("HTTP/2 on both sides", "client h2load", "reverse proxy to nginx", reverse(true, true), h2load, HTTP)
add("CONNECT, HTTP/2", "proxy nghttpx", "connector http2, handler http", proxied("http", ""), nil, TUNNEL)
add("CONNECT, HTTP/2 twice", "proxy nghttpx", "connector http2, handler http2",
  proxied("http2", ";;proto=h2;tls"), nil, TUNNEL)

return {
  name = "nghttp2", needs = { "nghttp", "h2load", "nghttpx", "nginx" },
  version = { "nghttp", "--version", pattern = "nghttp2/(%S+)" }, pairs = rows,
}
