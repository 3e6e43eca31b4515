-- The examples about names, run as they are but for addresses.

local examples = require "spec.helpers.examples"
local fake = require "spec.helpers.dns"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local function test(fn)
  return fake.test(function()
    local ok, err = xpcall(fn, debug.traceback)
    proxy.stop_all()
    programs.stop_all()
    plane.cleanup()
    assert(ok, err)
  end, 60)
end

local function get(p, host, port)
  return programs.run("curl", {
    "-sS", "--max-time", "15", "--noproxy", "", "-x", "http://127.0.0.1:" .. p:port(1),
    ("http://%s:%s/"):format(host, port),
  }).stdout
end

describe("examples", function()
  it("names.yml knows names of its own, and asks servers", test(function()
    local server = fake.zone { ["www.example"] = { "127.0.0.1" } }
    local text = examples.read("examples/names.yml"):gsub("127%.0%.0%.1:8080\n", "127.0.0.1:0\n")
      :gsub("192%.168%.1%.[25]", "127.0.0.1")
      :gsub("tls://9%.9%.9%.9", "tls://" .. fake.nobody()):gsub("https://[^\n]*", "https://" .. fake.nobody())
      :gsub("addr: 192%.168%.1%.1", "addr: " .. server.address)
    local p = proxy.start({ "-C", programs.file(programs.folder(), "names.yml", text) }, { services = 1 })
    local port = examples.web("here"):match ":(%d+)$"
    for _, host in ipairs { "printer.home", "printer", "nas.home", "films.nas.home", "www.example" } do
      assert.same("here", get(p, host, port))
    end
    assert.same("", get(p, "other.example", port))
  end))

  it("split-dns.lua asks the office for its own", test(function()
    local server = fake.zone { ["wiki.office.test"] = { "127.0.0.1" } }
    local p = proxy.start({ "-C", "examples/split-dns.lua" }, {
      env = { LISTEN = "127.0.0.1:0", OFFICE_DNS = server.address }, services = 1,
    })
    local port = examples.web("here"):match ":(%d+)$"
    assert.same("here", get(p, "wiki.office.test", port))
    assert.same("here", get(p, "localhost", port))
    assert.same("", get(p, "nobody.office.test", port))
    assert.same({ "wiki.office.test. A", "nobody.office.test. A", "nobody.office.test. AAAA" }, server.asked)
  end))
end)
