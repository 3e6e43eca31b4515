-- Examples of transports, run as their first lines say.

local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

-- A copy of an example with ports of our own.
local function adapted(path, ports)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  for from, to in pairs(ports) do
    local count
    text, count = text:gsub("127%.0%.0%.1:" .. from, "127.0.0.1:" .. to)
    assert(count > 0, from)
  end
  return programs.file(programs.folder(), path:match "[^/]+$", text)
end

describe("examples of transports", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("grpc-tunnel.yml carries what enters near to far", helpers.task(function()
    local web = origin.nginx()
    local near, far = programs.free_port(), programs.free_port()
    local p = proxy.start({ "-C", adapted("examples/grpc-tunnel.yml", { [8080] = near, [8443] = far }) },
      { services = 2 })
    for _, scheme in ipairs { "http", "socks5h" } do
      assert.equal("HTTP/1.1 127.0.0.1\n", origin.curl { "-x", ("%s://127.0.0.1:%d"):format(scheme, near),
        ("http://127.0.0.1:%d/whoami"):format(web.http) })
    end
    p:logged("far@127.0.0.1:" .. far, true)
  end))

  it("ws-chain.yml carries what enters near through middle to far", helpers.task(function()
    local web = origin.nginx()
    local near, middle, far = programs.free_port(), programs.free_port(), programs.free_port()
    local p = proxy.start({ "-C", adapted("examples/ws-chain.yml", {
      [8080] = near, [9001] = middle, [9002] = far }) }, { services = 3 })
    for _ = 1, 3 do
      assert.equal("HTTP/1.1 127.0.0.1\n", origin.curl { "-x", ("http://127.0.0.1:%d"):format(near),
        ("http://127.0.0.1:%d/whoami"):format(web.http) })
    end
    p:logged(("middle@127.0.0.1:%d > far@127.0.0.1:%d"):format(middle, far), true)
  end))
end)
