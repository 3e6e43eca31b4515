-- Much data: 1 GiB each way compared by hash, and iperf3.
-- spec: timeout=300, no-asan

local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local curl = origin.curl

local GIB = 1073741824

local function sha256(path)
  return programs.output("sha256sum", { path }):match "^%x+"
end

-- Incompressible enough and different in every block, quickly made.
local function make_big_file(path)
  programs.output("/usr/bin/python3", { "-c", [[
import os, sys
block = os.urandom(1 << 20)
with open(sys.argv[1], "wb") as f:
    for i in range(1024):
        f.write(i.to_bytes(8, "big") + block[i:-8] + block[:i])
]], path })
end

describe("bulk", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("downloads and uploads 1 GiB unchanged", helpers.task(function()
    local web = origin.nginx()
    local p = proxy.start { "-L", "http://127.0.0.1:0", "-L", "socks5://127.0.0.1:0" }
    local big, copy = web.www .. "/big", web.folder .. "/copy"
    make_big_file(big)
    local sum = sha256(big)
    curl { "-x", "socks5h://127.0.0.1:" .. p:port(2), "-o", copy, ("http://127.0.0.1:%d/big"):format(web.http) }
    assert.equal(sum, sha256(copy))
    os.remove(copy)
    curl { "-x", "http://127.0.0.1:" .. p:port(1), "-k", "-T", big,
      ("https://127.0.0.1:%d/up/big"):format(web.https) }
    assert.equal(sum, sha256(web.www .. "/up/big"))
    assert.equal(GIB, tonumber(programs.output("stat", { "-c", "%s", big })))
  end, 200))

  for _, direction in ipairs { "--bidir", "-R" } do
    it("carries iperf3 through a port forward, " .. direction, helpers.task(function()
      local port = programs.free_port()
      programs.start("iperf3", { "-s", "--forceflush", "-B", "127.0.0.1", "-p", tostring(port) },
        { ready = "listening" })
      local p = proxy.start { "-L", "tcp://127.0.0.1:0/127.0.0.1:" .. port }
      local said = programs.output("iperf3", { "-c", "127.0.0.1", "-p", tostring(p:port(1)), "-n", "64M", "-P", "4",
        "-J", direction })
      assert.is_nil(said:match '"error"')
    end))
  end
end)
