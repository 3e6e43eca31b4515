-- shadowsocks-libev: all methods that both know.

local shadowsocks = require "spec.helpers.shadowsocks"

local HALF = "ss-server and ss-local end a tunnel when one side of it ends."

local function serve(env, method, port)
  env:start("ss-server", { "-s", "127.0.0.1", "-p", port, "-k", "secret", "-m", method, "-u" }, port)
end

local function connect(env, method, port, far)
  env:start("ss-local", { "-s", "127.0.0.1", "-p", far, "-b", "127.0.0.1", "-l", port, "-k", "secret", "-m", method,
    "-u" }, port)
end

return {
  name = "shadowsocks-libev", needs = { "ss-server", "ss-local" },
  version = { "ss-server", "-h", pattern = "shadowsocks%-libev ([%d.]+)" },
  pairs = shadowsocks.pairs {
    methods = { "aes-256-gcm", "chacha20-ietf-poly1305", "aes-256-cfb", "chacha20", "aes-128-gcm", "aes-192-gcm",
      "xchacha20-ietf-poly1305", "aes-128-cfb", "aes-192-cfb", "aes-128-ctr", "aes-192-ctr", "aes-256-ctr",
      "camellia-128-cfb", "camellia-192-cfb", "camellia-256-cfb", "chacha20-ietf" },
    serve = serve, connect = connect, quick = 16, cannot = { server = { half = HALF }, client = { half = HALF } },
  },
}
