-- The example of gRPC services behind one port, with servers and callers that Google's gRPC makes.

local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local tls = require "spec.helpers.tls"

local PYTHON, PEER = "/usr/bin/python3", "spec/interop/peers/grpc_calls.py"

-- The peer's service goes by the names of the example's.
local function named(text)
  return (text:gsub("news%.Feed", "test.Calls"))
end

describe("example grpc-proxy.yml", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("does what it says", helpers.task(function()
    local authority = tls.authority "Example"
    local files = tls.certificate(authority, "grpc.example.com", { san = "DNS:grpc.example.com" })
    local nginx = origin.nginx()
    local ports = { feed_1 = "9001", feed_2 = "9002", accounts = "9003" }
    local places = { { "127.0.0.1:8443", "127.0.0.1:0" }, { "127.0.0.1:9004", "127.0.0.1:" .. nginx.http },
      { "server.crt", files.cert }, { "server.key", files.key } }
    local servers = {}
    for name, port in pairs(ports) do
      servers[name] = programs.start(PYTHON, { PEER, "server", "0", name }, { ready = "%d+\n" })
      places[#places + 1] = { "127.0.0.1:" .. port, "127.0.0.1:" .. servers[name].stdout:match "%d+" }
    end
    local text, missing = examples.replaced(named(examples.read "examples/grpc-proxy.yml"), places)
    assert.same({}, missing)
    local p = proxy.start({ "-C", programs.file(programs.folder(), "g.yml", text) }, { services = 1 })
    local said = programs.output(PYTHON, { PEER, "client", "127.0.0.1:" .. p:port(1),
      "unary,unary,bidi,errors", authority.cert, "grpc.example.com" }, { seconds = 40 })
    assert.match("cba feed_1", said, 1, true)
    assert.match("cba feed_2", said, 1, true)
    assert.match("20 heard 0 heard 19", said, 1, true)
    assert.match("Deny PERMISSION_DENIED", said, 1, true)
    local host = "grpc.example.com"
    assert.match("hello from the origin", programs.output("curl", { "-sS", "-m", "20", "--cacert", authority.cert,
      "--resolve", ("%s:%d:127.0.0.1"):format(host, p:port(1)), ("https://%s:%d/hello.html"):format(host, p:port(1)) }),
      1, true)
  end))
end)
