-- The example of Shadowsocks, run as its first lines say.

local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

describe("example of Shadowsocks", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("shadowsocks.yml carries TCP and UDP for a user", helpers.task(function()
    local web = origin.nginx()
    local server, client, dns = programs.free_port(), programs.free_port(), programs.free_port()
    local resolver = packet.udp { at = "127.0.0.1:0" }
    local path = examples.adapted("examples/shadowsocks.yml", {
      [8388] = server, [1080] = client, [5353] = dns, ["192.0.2.53:53"] = resolver:local_address(),
    })
    local p = proxy.start({ "-C", path }, { services = 4 })
    assert.equal("HTTP/1.1 127.0.0.1\n", origin.curl { "-x", "socks5h://127.0.0.1:" .. client,
      ("http://127.0.0.1:%d/whoami"):format(web.http) })
    p:logged('"clientID":"alice"', true)

    local asker = packet.udp { connect = "127.0.0.1:" .. dns }
    asker:send "where?"
    local question, from = resolver:recv()
    assert.equal("where?", question)
    resolver:send("here", from)
    assert.equal("here", (asker:recv()))
    asker:close()
    resolver:close()
  end))
end)
