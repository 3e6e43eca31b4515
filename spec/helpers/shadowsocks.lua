-- The rows of the interop matrix for a program that speaks Shadowsocks: both roles, every method, TCP and UDP.

local M = {}

local KEYS = {
  ["2022-blake3-aes-128-gcm"] = "AAECAwQFBgcICQoLDA0ODw==",
  ["2022-blake3-aes-256-gcm"] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
  ["2022-blake3-chacha20-poly1305"] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}

--- The password that every end has for a method.
function M.key(method)
  return KEYS[method] or "secret"
end

--- "method:password@127.0.0.1", for URLs.
function M.url(method)
  return ("%s:%s@127.0.0.1"):format(method, M.key(method):gsub("=", "%%3D"))
end

local function serving(peer, method)
  return function(env)
    local port = env:port()
    peer.serve(env, method, port)
    local p = env:tide("-L", "socks5://127.0.0.1:0", "-F", ("ss://%s:%d"):format(M.url(method), port))
    local udp = env:tide("-L", "socks5://127.0.0.1:0?udp=true",
      "-F", ("ssu://%s:%d%s"):format(M.url(method), port, peer.query or ""))
    return { tcp = { kind = "socks5", port = p:port(1) }, udp = { kind = "socks5", port = udp:port(1) } }
  end
end

local function served(peer, method)
  return function(env)
    local far = env:port()
    env:tide("-L", ("ss://%s:%d"):format(M.url(method), far),
      "-L", ("ssu://%s:%d%s"):format(M.url(method), far, peer.query or ""))
    local port = env:port()
    peer.connect(env, method, port, far)
    local udp = port
    if peer.connect_udp then
      udp = env:port()
      peer.connect_udp(env, method, udp, far)
    end
    return { tcp = { kind = "socks5", port = port }, udp = { kind = "socks5", port = udp } }
  end
end

--- @param peer { methods, serve(env, method, port), connect(env, method, port, far), connect_udp, query, cannot,
-- quick = how many methods CI runs }
function M.pairs(peer)
  local rows = {}
  for i, method in ipairs(peer.methods) do
    local quick = peer.quick and (i <= peer.quick)
    rows[#rows + 1] = { protocol = "ss " .. method, role = "server", ours = "connector ss, ssu", quick = quick,
      start = serving(peer, method), cannot = peer.cannot and peer.cannot.server }
    rows[#rows + 1] = { protocol = "ss " .. method, role = "client", ours = "handler ss, ssu", quick = quick,
      start = served(peer, method), cannot = peer.cannot and peer.cannot.client }
  end
  return rows
end

return M
