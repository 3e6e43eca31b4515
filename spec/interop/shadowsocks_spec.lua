-- Shadowsocks against programs others wrote, in both roles: shadowsocks-libev, v2ray, and shadowsocks-rust and
-- gost where they are installed.
-- spec: timeout=600

local files = require "spec.helpers.files"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local socks = require "tidegate.native.socks"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local KEYS = {
  ["2022-blake3-aes-128-gcm"] = "AAECAwQFBgcICQoLDA0ODw==",
  ["2022-blake3-aes-256-gcm"] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
  ["2022-blake3-chacha20-poly1305"] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}
local MANY = 100

local function key_of(method)
  return KEYS[method] or "secret"
end

local function url(method)
  return ("%s:%s@127.0.0.1"):format(method, key_of(method):gsub("=", "%%3D"))
end

local function v2ray(config)
  local json = require "cjson"
  return programs.file(programs.folder(), "v2ray.json", json.encode(config))
end

-- Each starts its program on ports of ours.  `half`: it passes a half-close on, which others do not.
local PEERS = {
  {
    name = "shadowsocks-libev", program = "ss-server",
    methods = { "aes-256-gcm", "aes-128-gcm", "aes-192-gcm", "chacha20-ietf-poly1305", "xchacha20-ietf-poly1305",
      "aes-128-cfb", "aes-192-cfb", "aes-256-cfb", "aes-128-ctr", "aes-192-ctr", "aes-256-ctr", "camellia-256-cfb",
      "chacha20", "chacha20-ietf" },
    serve = function(method, port)
      programs.start("ss-server", { "-s", "127.0.0.1", "-p", tostring(port), "-k", "secret", "-m", method, "-u" },
        { port = port })
    end,
    connect = function(method, port, far)
      programs.start("ss-local", { "-s", "127.0.0.1", "-p", tostring(far), "-b", "127.0.0.1", "-l", tostring(port),
        "-k", "secret", "-m", method, "-u" }, { port = port })
    end,
  },
  {
    name = "v2ray", program = "v2ray",
    methods = { "aes-256-gcm", "aes-128-gcm", "chacha20-ietf-poly1305" },
    serve = function(method, port)
      programs.start("v2ray", { "-config", v2ray {
        inbounds = { { listen = "127.0.0.1", port = port, protocol = "shadowsocks",
          settings = { method = method, password = "secret", network = "tcp,udp" } } },
        outbounds = { { protocol = "freedom" } },
      } }, { port = port })
    end,
    connect = function(method, port, far)
      programs.start("v2ray", { "-config", v2ray {
        inbounds = { { listen = "127.0.0.1", port = port, protocol = "socks",
          settings = { udp = true, ip = "127.0.0.1" } } },
        outbounds = { { protocol = "shadowsocks", settings = { servers = {
          { address = "127.0.0.1", port = far, method = method, password = "secret" } } } } },
      } }, { port = port })
    end,
  },
  {
    name = "shadowsocks-rust", program = "ssserver", half = true,
    methods = { "2022-blake3-aes-256-gcm", "2022-blake3-aes-128-gcm", "2022-blake3-chacha20-poly1305",
      "aes-128-gcm", "aes-256-gcm", "chacha20-ietf-poly1305" },
    serve = function(method, port)
      programs.start("ssserver", { "-s", "127.0.0.1:" .. port, "-k", key_of(method), "-m", method, "-U" },
        { port = port })
    end,
    connect = function(method, port, far)
      programs.start("sslocal", { "-s", "127.0.0.1:" .. far, "-b", "127.0.0.1:" .. port, "-k", key_of(method),
        "-m", method, "-U" }, { port = port })
    end,
  },
  {
    name = "gost", program = "gost", gost = true,
    methods = { "aes-256-gcm", "aes-128-gcm", "chacha20-ietf-poly1305", "2022-blake3-aes-128-gcm",
      "2022-blake3-aes-256-gcm", "none" },
    serve = function(method, port)
      programs.start("gost", { "-L", ("ss://%s:%d"):format(url(method), port),
        "-L", ("ssu://%s:%d?keepalive=true&ttl=30s"):format(url(method), port) }, { port = port })
    end,
    connect = function(method, port, far, network)
      programs.start("gost", { "-L", ("socks5://127.0.0.1:%d?udp=true"):format(port),
        "-F", ("%s://%s:%d"):format(network == "udp" and "ssu" or "ss", url(method), far) }, { port = port })
    end,
  },
}

local function dial(port)
  local s = assert(stream.dial("127.0.0.1:" .. port, nil, task.now() + 10000))
  s:set_deadline(task.now() + 30000)
  return s
end

local function tunnel(port, target_port)
  local s = dial(port)
  assert(s:write("\5\1\0"))
  assert.equal("\5\0", s:read_exact(2))
  assert(s:write((socks.encode_request5(1, "127.0.0.1", target_port))))
  assert.equal(0, (s:receive(socks.reply5)))
  return s
end

local function whoami(port, target_port)
  local s = tunnel(port, target_port)
  assert(s:write "GET /whoami HTTP/1.0\r\nHost: a\r\n\r\n")
  local head = s:read_until("\r\n\r\n", 4096)
  s:close()
  return head
end

-- Small and large, many at once, ends.
local function exercise(port, size, half)
  local web = origin.nginx()
  local way = "socks5h://127.0.0.1:" .. port
  local big, copy = web.www .. "/big", web.folder .. "/copy"
  programs.output("dd", { "if=/dev/urandom", "of=" .. big, "bs=1M", "count=" .. size, "status=none" })
  local sum = files.md5(big)
  origin.curl { "-x", way, "-o", copy, ("http://127.0.0.1:%d/big"):format(web.http) }
  assert.equal(sum, files.md5(copy))
  origin.curl { "-x", way, "-T", big, ("http://127.0.0.1:%d/up/big"):format(web.http) }
  assert.equal(sum, files.md5(web.www .. "/up/big"))
  local waits = {}
  for i = 1, MANY do
    waits[i] = helpers.spawn(whoami, port, web.http)
  end
  for i = 1, MANY do
    assert.matches("^HTTP/1.1 200", waits[i]())
  end
  local abrupt = tunnel(port, web.http)
  abrupt:write "GET /big HTTP/1.0\r\n\r\n"
  abrupt:close()
  if half then
    local s = tunnel(port, web.http)
    s:write "GET /whoami HTTP/1.0\r\nHost: a\r\n\r\n"
    s:shutdown()
    assert.matches("^HTTP/1.1 200", s:read_until("\r\n\r\n", 4096))
    s:close()
  end
  assert.matches("^HTTP/1.1 200", whoami(port, web.http))
end

local function look_up(port, dns)
  assert.equal("192.0.2.33\n", programs.output("/usr/bin/python3", { "spec/interop/peers/socks_udp.py",
    tostring(port), tostring(dns), "tidegate.test", "127.0.0.1" }))
end

describe("shadowsocks", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  for _, peer in ipairs(PEERS) do
    local run = programs.have(peer.program) and it or pending
    local deviates = peer.gost and "?gost=true" or ""
    for i, method in ipairs(peer.methods) do
      local size = i == 1 and 64 or 4
      run(("%s serves us: %s"):format(peer.name, method), helpers.task(function()
        local port = programs.free_port()
        peer.serve(method, port)
        local p = proxy.start { "-L", "socks5://127.0.0.1:0?udp=true", "-F", ("ss://%s:%d"):format(url(method), port),
          "-L", "socks5://127.0.0.1:0?udp=true" }
        exercise(p:port(1), size, peer.half)
        p:stop()
        p = proxy.start { "-L", "socks5://127.0.0.1:0?udp=true",
          "-F", ("ssu://%s:%d%s"):format(url(method), port, deviates) }
        look_up(p:port(1), origin.dnsmasq())
      end, 60))

      run(("%s is served: %s"):format(peer.name, method), helpers.task(function()
        local near, port = programs.free_port(), programs.free_port()
        local p = proxy.start { "-L", ("ss://%s:%d"):format(url(method), port),
          "-L", ("ssu://%s:%d%s"):format(url(method), port, deviates) }
        peer.connect(method, near, port)
        exercise(near, size, peer.half)
        if peer.gost then
          near = programs.free_port()
          peer.connect(method, near, port, "udp")
        end
        look_up(near, origin.dnsmasq())
        assert.is_nil(p:log():find '"level":"error"')
      end, 60))
    end
  end
end)
