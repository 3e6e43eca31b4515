-- The examples of policies, run as they are but for addresses and paths.

local acceptor = require "tidegate.net.acceptor"
local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local mmdb = require "spec.helpers.mmdb"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local socks = require "tidegate.native.socks"

local open = {}

-- A SOCKS5 proxy that goes nowhere: it notes what it is asked for.
local function far_away()
  local asked = {}
  local server = assert(acceptor.listen "127.0.0.1:0")
  open[#open + 1] = server
  assert(server:start(function(peer)
    peer:read_exact(peer:read_exact(2):byte(2))
    peer:write "\5\0"
    local _, host, port = peer:receive(socks.request5)
    asked[#asked + 1] = ("%s:%s"):format(tostring(host), tostring(port))
    peer:write(socks.encode_reply5(5, "", 0))
    peer:close()
  end))
  return server:address(), asked
end

describe("examples", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    for i = #open, 1, -1 do
      table.remove(open, i):close()
    end
  end))

  it("geoip-split.yml sends what is far through the proxy, and nothing else", helpers.task(function()
    local folder = programs.folder()
    local far, asked = far_away()
    local config = examples.adapted("examples/geoip-split.yml", {
      ["127.0.0.1:8080"] = "127.0.0.1:0",
      ["127.0.0.1:1080"] = far,
      ["127.0.0.1:53"] = "127.0.0.1:" .. origin.dnsmasq {
        ["german.test"] = "192.0.2.1", ["french.test"] = "198.51.100.1", ["network.test"] = "203.0.113.1",
        ["direct.test"] = "198.51.100.2", ["listed.test"] = "198.51.100.3", ["home.test"] = "127.0.0.2",
      },
      ["/var/lib/GeoIP/GeoLite2-Country.mmdb"] = mmdb.write(folder .. "/c.mmdb", mmdb.countries {
        { "192.0.2.0/24", "DE" }, { "198.51.100.0/24", "FR" }, { "203.0.113.0/24", "FR" },
      }),
      ["/var/lib/GeoIP/GeoLite2-ASN.mmdb"] = mmdb.write(folder .. "/a.mmdb", mmdb.systems {
        { "203.0.113.0/24", 64500 }, { "198.51.100.0/24", 64501 },
      }),
      ["/etc/tidegate/direct-domains.txt"] = programs.file(folder, "list", "server=/listed.test/1.1.1.1\n"),
    })
    local p = proxy.start({ "-C", config }, { services = 1 })
    local function visit(host)
      programs.run("curl", {
        "-sS", "--connect-timeout", "1", "--max-time", "1", "-x", "http://127.0.0.1:" .. p:port(1),
        ("http://%s:9/"):format(host),
      })
    end
    for _, near in ipairs {
      "german.test", "network.test", "www.direct.test", "listed.test", "home.test", "192.0.2.9",
    } do
      visit(near)
      assert.same({}, asked, near)
    end
    visit "french.test"
    visit "198.51.100.9"
    assert.same({ "198.51.100.1:9", "198.51.100.9:9" }, asked)
  end))
end)
