-- The example of Shadowsocks, run as its first lines say.

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
    local file = assert(io.open "examples/shadowsocks.yml")
    local text = file:read "*a"
    file:close()
    for from, to in pairs {
      ["127.0.0.1:8388"] = "127.0.0.1:" .. server, ["127.0.0.1:1080"] = "127.0.0.1:" .. client,
      ["127.0.0.1:5353"] = "127.0.0.1:" .. dns, ["192.0.2.53:53"] = resolver:local_address(),
    } do
      local count
      text, count = text:gsub(from:gsub("%p", "%%%0"), to)
      assert(count > 0, from)
    end
    local p = proxy.start({ "-C", programs.file(programs.folder(), "shadowsocks.yml", text) }, { services = 4 })
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
