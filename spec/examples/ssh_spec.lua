-- The example of SSH, run as its first lines say.

local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local ssh = require "spec.helpers.ssh"

describe("examples/ssh-proxy.yml", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("serves its own proxy and any SSH client", helpers.task(function()
    local web = origin.nginx()
    local server, near, socks = programs.free_port(), programs.free_port(), programs.free_port()
    local path = examples.adapted("examples/ssh-proxy.yml", { [2222] = server, [8080] = near })
    local p = proxy.start({ "-C", path }, { services = 2 })
    local where = ("http://127.0.0.1:%d/whoami"):format(web.http)
    assert.equal("HTTP/1.1 127.0.0.1\n", origin.curl { "-x", "http://127.0.0.1:" .. near, where })
    p:logged("server@127.0.0.1:" .. server, true)

    programs.start("ssh", ssh.args(server, { user = "tide@127.0.0.1", "-N", "-D", "127.0.0.1:" .. socks }),
      { env = ssh.answering(programs.folder(), "gate"), port = socks })
    assert.equal("HTTP/1.1 127.0.0.1\n", origin.curl { "-x", "socks5h://127.0.0.1:" .. socks, where })
  end))
end)
