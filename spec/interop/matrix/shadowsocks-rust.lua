-- shadowsocks-rust: all methods that both know, those of 2022 among them.

local shadowsocks = require "spec.helpers.shadowsocks"

local function serve(env, method, port)
  env:start("ssserver", { "-s", "127.0.0.1:" .. port, "-k", shadowsocks.key(method), "-m", method, "-U" }, port)
end

local function connect(env, method, port, far)
  env:start("sslocal", { "-s", "127.0.0.1:" .. far, "-b", "127.0.0.1:" .. port, "-k", shadowsocks.key(method),
    "-m", method, "-U" }, port)
end

return {
  name = "shadowsocks-rust", needs = { "ssserver", "sslocal" }, version = { "ssserver", "--version" },
  pairs = shadowsocks.pairs {
    methods = { "2022-blake3-aes-256-gcm", "2022-blake3-aes-128-gcm", "2022-blake3-chacha20-poly1305",
      "aes-128-gcm", "aes-256-gcm", "chacha20-ietf-poly1305", "xchacha20-ietf-poly1305",
      "aes-128-cfb", "aes-192-cfb", "aes-256-cfb", "aes-128-ctr", "aes-192-ctr", "aes-256-ctr",
      "camellia-128-cfb", "camellia-192-cfb", "camellia-256-cfb", "chacha20-ietf" },
    serve = serve, connect = connect,
  },
}
