-- Where traffic leaves and enters: network namespaces, interfaces, source addresses, marks.  Needs root.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local uv = require "luv"

local TAG = tostring(uv.os_getpid() % 10000)
local NETNS, HERE, THERE = "tgns" .. TAG, "tgh" .. TAG, "tgt" .. TAG
local OUTSIDE, INSIDE = "10.213.77.1", "10.213.77.2"

local function ip(line)
  local words = {}
  for word in line:gmatch "%S+" do
    words[#words + 1] = word
  end
  return programs.output("ip", words)
end

local function can_make_namespaces()
  if uv.getuid() ~= 0 then
    return false
  end
  local made = programs.run("ip", { "netns", "add", NETNS }).code == 0
  if made then
    ip("netns del " .. NETNS)
  end
  return made
end

-- A namespace joined to ours by a pair of interfaces, with a web server in it that tells who asks.
local function namespace()
  ip("netns add " .. NETNS)
  ip(("link add %s type veth peer name %s netns %s"):format(HERE, THERE, NETNS))
  ip(("addr add %s/30 dev %s"):format(OUTSIDE, HERE))
  ip(("link set %s up"):format(HERE))
  ip(("netns exec %s ip addr add %s/30 dev %s"):format(NETNS, INSIDE, THERE))
  ip(("netns exec %s ip link set %s up"):format(NETNS, THERE))
  ip(("netns exec %s ip link set lo up"):format(NETNS))
end

local SERVER = [[
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.client_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.HTTPServer(("0.0.0.0", 8099), Handler).serve_forever()
]]

describe("egress", function()
  local possible

  before_each(helpers.task(function()
    possible = can_make_namespaces()
    if possible then
      namespace()
      programs.start("ip", { "netns", "exec", NETNS, "/usr/bin/python3", "-c", SERVER })
      helpers.eventually(function()
        return programs.run("ip", { "netns", "exec", NETNS, "curl", "-s", "http://127.0.0.1:8099/" }).code == 0
      end)
    end
  end))

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    if possible then
      programs.run("ip", { "netns", "del", NETNS })
      programs.run("ip", { "link", "del", HERE })
    end
  end))

  -- What the server inside sees, asked through a proxy started with these parameters.
  local function seen(parameters, target, in_namespace)
    local p = proxy.start { "-L", "http://" .. (in_namespace and "0.0.0.0" or "127.0.0.1") .. ":0?" .. parameters }
    local args = { "-sS", "--max-time", "20", "--noproxy", "", "-x",
      ("http://%s:%d"):format(in_namespace and INSIDE or "127.0.0.1", p:port(1)), "http://" .. target .. ":8099/" }
    local result = programs.run("curl", args)
    p:stop()
    return result.stdout
  end

  it("dials from a network namespace, and listens in one", helpers.task(function()
    if not possible then
      return pending "needs network namespaces"
    end
    assert.equal("127.0.0.1", seen("netns.out=" .. NETNS, "127.0.0.1"))
    assert.equal(OUTSIDE, seen("netns=" .. NETNS, INSIDE, true))
    assert.equal(INSIDE, seen("netns.out=/run/netns/" .. NETNS, INSIDE))
  end))

  it("binds to an interface or a source address", helpers.task(function()
    if not possible then
      return pending "needs network namespaces"
    end
    assert.equal(OUTSIDE, seen("interface=" .. HERE, INSIDE))
    assert.equal(OUTSIDE, seen("interface=" .. OUTSIDE, INSIDE))
    assert.equal("", seen("interface=nosuchif0!", INSIDE))
  end))

  it("marks its sockets", helpers.task(function()
    if not possible then
      return pending "needs network namespaces"
    end
    ip "rule add fwmark 4711 prohibit"
    local marked, plain = seen("so_mark=4711", INSIDE), seen("so_mark=4712", INSIDE)
    ip "rule del fwmark 4711 prohibit"
    assert.not_equal(OUTSIDE, marked)
    assert.equal(OUTSIDE, plain)
  end))
end)
