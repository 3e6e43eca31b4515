-- curl: as the client of our proxies, of our file server and of our reverse proxy.

local http = require "spec.helpers.interop_http"
local programs = require "spec.helpers.programs"

local HTTP = { half = "HTTP has no half-close." }

local function args(env, ...)
  local all = { "-sS", "--fail", "-k", "--noproxy", "", "--max-time", "120", unpack(env.args) }
  for _, arg in ipairs { ... } do
    all[#all + 1] = arg
  end
  return all
end

local client = {}

function client.get(env, path, file)
  env.output("curl", args(env, "-o", file, env.base .. path), { seconds = 130 })
end

function client.put(env, file, path)
  env.output("curl", args(env, "-T", file, env.base .. path), { seconds = 130 })
end

function client.many(env, path, count)
  local said = env.output("curl", args(env, "-Z", "--parallel-immediate", "--parallel-max", tostring(count), "-w",
    "%{http_code}\n", "-o", "/dev/null", ("%s%s?[1-%d]"):format(env.base, path, count)))
  local _, good = said:gsub("200\n", "")
  assert(good == count, said)
end

function client.slow(env, path)
  return env:start("curl", args(env, "--limit-rate", "100k", "-N", env.base .. path))
end

-- Through a proxy to nginx.
local function proxied(scheme, url)
  return function(env)
    http.origin(env)
    local p = env:tide("-L", scheme .. "://127.0.0.1:0")
    env.args = { "--proxy-insecure", "-x", ("%s://127.0.0.1:%d"):format(url, p:port(1)) }
    env.base = "http://127.0.0.1:" .. env.web.http
  end
end

local function from_files(scheme, url)
  return function(env)
    env.www = env:folder() .. "/www"
    env.output("mkdir", { "-p", env.www .. "/up" })
    programs.file(env.www, "hello", "hello")
    local p = env:tide("-L", ("%s://127.0.0.1:0?dir=%s&put=true"):format(scheme, env.www))
    env.args, env.base = {}, ("%s://127.0.0.1:%d"):format(url, p:port(1))
  end
end

local function reverse(version, clear)
  return function(env)
    env.base = http.reverse(env, clear)
    env.args = { version }
  end
end

local rows = {}

local function add(protocol, ours, start, slow)
  rows[#rows + 1] = { protocol = protocol, role = "client", ours = ours, start = start, cannot = HTTP,
    checks = http.checks(client), quick = not slow }
end

add("HTTP proxy", "handler http", proxied("http", "http"))
add("HTTP proxy over TLS", "handler http, listener tls", proxied("http+tls", "https"))
add("SOCKS5 proxy", "handler socks5", proxied("socks5", "socks5h"), true)
add("SOCKS4a proxy", "handler socks4", proxied("socks4", "socks4a"), true)
add("HTTP proxy, ALPN http/1.1", "handler http2", proxied("http2", "https"), true)
add("HTTP/1.1", "handler file", from_files("file", "http"))
add("HTTP/1.1 over TLS", "handler file, listener tls", from_files("file+tls", "https"), true)
add("HTTP/1.1", "reverse proxy to nginx", reverse("--http1.1", true))
add("HTTP/2 over TLS", "reverse proxy to nginx", reverse("--http2"))
add("HTTP/2 in clear", "reverse proxy to nginx", reverse("--http2-prior-knowledge", true))

return { name = "curl", needs = { "curl", "nginx" }, version = { "curl", "--version" }, pairs = rows }
