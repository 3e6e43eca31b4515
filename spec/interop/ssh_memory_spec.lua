-- What a connection holds for a target that does not read.
-- spec: no-asan

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local ssh = require "spec.helpers.ssh"
local task = require "tidegate.native.task"

describe("listener sshd", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("holds little for targets that do not read", helpers.task(function()
    local over = task.waiter()
    local idle, stop_idle = server.accept(function(s)
      over:wait(task.now() + 20000)
      s:close()
    end)
    local keys = ssh.keys()
    local p = proxy.start {
      "-L", ("sshd://u:p@127.0.0.1:0?privateKeyFile=%s/host"):format(keys),
    }
    local before = p:rss()
    local done = programs.run("sh", { "-c", ("head -c 33554432 /dev/zero | timeout 2 ssh %s"):format(
      table.concat(ssh.args(p:port(1), { "-W", idle }), " ")) }, { env = ssh.answering(keys, "p"), seconds = 40 })
    assert.is_not_nil(done.code)
    assert.is_true(p:rss() - before < 16 * 1024)
    over:wake()
    stop_idle()
  end))
end)
