-- Transparent proxying: REDIRECT and TPROXY of a packet filter, in a network namespace of the test's own.
-- Needs root and nft.

local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

local PORT, MARK = 12345, 7
local FOUR, SIX = "10.9.9.9", "fd09::9"

-- All addresses are the namespace's own; the proxy's connections are told from others by their mark.
local SETUP = [[
set -e
ip link set lo up
ip addr add 10.9.9.9/32 dev lo
ip -6 addr add fd09::9/128 dev lo nodad
nft -f - <<END
%s
END
%s
exec "$@"]]

local REDIRECT = [[
table inet t {
  chain out {
    type nat hook output priority -100;
    tcp dport 80 meta mark != 7 redirect to :12345
  }
}]]

local TPROXY = [[
table inet t {
  chain out {
    type route hook output priority -150;
    tcp dport 80 meta mark != 7 meta mark set 1
  }
  chain pre {
    type filter hook prerouting priority -150;
    meta nfproto ipv4 meta l4proto tcp meta mark 1 tproxy ip to :12345 accept
    meta nfproto ipv6 meta l4proto tcp meta mark 1 tproxy ip6 to :12345 accept
  }
}]]

local TPROXY_ROUTES = [[
ip rule add fwmark 1 lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
ip -6 rule add fwmark 1 lookup 100
ip -6 route add local ::/0 dev lo table 100]]

local function is_allowed()
  if uv.getuid() ~= 0 or not programs.have "nft" or not programs.have "unshare" then
    return false
  end
  return programs.run("unshare", { "-n", "sh", "-c", "ip link set lo up && nft list ruleset" }).code == 0
end

-- A proxy in a namespace of its own.  @return proxy, options for sockets in there
local function inside(rules, routes, url)
  local script = SETUP:format(rules, routes or ""):gsub("'", [['\'']])
  local p = proxy.start({ "-L", url }, { shell = ("exec unshare -n sh -c '%s' sh \"$@\""):format(script) })
  return p, stream.options { netns = ("/proc/%d/ns/net"):format(p.process.pid) }
end

-- Greets whoever comes with the address it was reached at, and echoes.
local function origin(options, address)
  local fds = assert(listener.open(address, "stream", 1, options))
  local acceptor = listener.accept(fds[1], function(s)
    s:write(s:local_address() .. "\n")
    local bytes = s:read()
    while bytes and s:write(bytes) do
      bytes = s:read()
    end
    s:close()
  end)
  return function()
    acceptor:close()
    listener.close_fd(fds[1])
  end
end

local function visit(options, address)
  local s, err = stream.dial(address, options, task.now() + 20000)
  assert(s, tostring(err))
  s:set_deadline(task.now() + 20000)
  local greeting = s:read_until("\n", 100)
  if greeting then
    s:write "ping"
    assert.equal("ping", s:read_exact(4))
  end
  s:close()
  return greeting
end

describe("transparent proxying", function()
  local allowed

  setup(helpers.task(function()
    allowed = is_allowed()
  end))

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  local function test(name, body)
    it(name, helpers.task(function()
      if not allowed then
        return pending "needs root, unshare and nft"
      end
      body()
    end))
  end

  for _, one in ipairs {
    { "REDIRECT", REDIRECT, "", ":" }, { "TPROXY", TPROXY, "tproxy=true&", ":" },
    { "REDIRECT, socket of IPv4 only", REDIRECT, "", "0.0.0.0:", true },
  } do
    local name, rules, query, host, only_four = unpack(one)
    test(name .. ": connections go where they were going", function()
      local p, options = inside(rules, query ~= "" and TPROXY_ROUTES,
        ("redirect://%s%d?%sso_mark=%d"):format(host, PORT, query, MARK))
      local stop = origin(options, "[::]:80")
      assert.equal(("%s:80\n"):format(FOUR), visit(options, FOUR .. ":80"), p:log())
      if not only_four then
        assert.equal(("[%s]:80\n"):format(SIX), visit(options, ("[%s]:80"):format(SIX)), p:log())
      end
      stop()
    end)

    test(name .. ": a connection that was not redirected is refused, not followed in circles", function()
      local p, options = inside(rules, query ~= "" and TPROXY_ROUTES,
        ("red://%s%d?%sso_mark=%d"):format(host, PORT, query, MARK))
      assert.is_nil(visit(options, ("127.0.0.1:%d"):format(PORT)))
      p:logged("not redirected", true)
      local _, lines = p:log():gsub('"error"[^\n]*not redirected', "")
      assert.equal(1, lines, p:log())
    end)
  end

  test("goes by the name it sees, to the original destination where that fails, and there always if told so", function()
    for query, expected in pairs {
      ["sniffing=true&sniffing.fallback=true"] = { "127.0.0.1:80", FOUR .. ":80" },
      ["sniffing=true&sniffing.dialOriginalDst=true"] = { FOUR .. ":80", FOUR .. ":80" },
      ["sniffing=true"] = { "127.0.0.1:80" },
    } do
      local p, options = inside(REDIRECT, nil, ("redirect://:%d?so_mark=%d&%s"):format(PORT, MARK, query))
      local fds = assert(listener.open("[::]:80", "stream", 1, options))
      local acceptor = listener.accept(fds[1], function(s)
        s:read_until("\r\n\r\n", 4096)
        local text = s:local_address()
        s:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text))
        s:close()
      end)
      for i, name in ipairs { "127.0.0.1", "127.0.0.1:1" } do
        local s = assert(stream.dial(FOUR .. ":80", options, task.now() + 20000))
        s:set_deadline(task.now() + 20000)
        s:write(("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(name))
        local text = s:read() or ""
        assert.equal(expected[i] or "", text:match "\r\n\r\n(.*)$" and text:match "\r\n\r\n(.*)$", query .. p:log())
        s:close()
      end
      acceptor:close()
      listener.close_fd(fds[1])
      proxy.stop_all()
    end
  end)

  test("goes through a chain, with the destination's address", function()
    local script = SETUP:format(REDIRECT, ""):gsub("'", [['\'']])
    local p = proxy.start({
      "-L", "socks5://127.0.0.1:1080?so_mark=7&ignoreChain=true", "-L", ("redir://:%d"):format(PORT),
      "-F", "socks5://127.0.0.1:1080",
    }, { shell = ("exec unshare -n sh -c '%s' sh \"$@\""):format(script) })
    local options = stream.options { netns = ("/proc/%d/ns/net"):format(p.process.pid) }
    local stop = origin(options, "[::]:80")
    assert.equal(FOUR .. ":80\n", visit(options, FOUR .. ":80"), p:log())
    p:logged('"handler":"socks5"', true)
    stop()
  end)
end)
