-- The SSH server for port forwarding, against OpenSSH's client and paramiko.
-- spec: timeout=300

local files = require "spec.helpers.files"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local ssh = require "spec.helpers.ssh"
local task = require "tidegate.native.task"

local curl = origin.curl

describe("listener sshd", function()
  local keys, p, stop

  local function start(query)
    keys = ssh.keys()
    p = proxy.start {
      "-L", ("sshd://u:p@127.0.0.1:0?privateKeyFile=%s/host&authorizedKeys=%s/authorized%s"):format(
        keys, keys, query or ""),
    }
    return p:port(1)
  end

  local function run(options, more)
    return programs.run("ssh", ssh.args(p:port(1), options), more)
  end

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    if stop then
      stop()
      stop = nil
    end
  end))

  local function tunnel_of(options)
    local ports = { socks = programs.free_port(), there = programs.free_port(), here = programs.free_port() }
    local args = ssh.args(p:port(1), {
      key = keys .. "/user", "-N", "-o", "ExitOnForwardFailure=yes",
      "-D", "127.0.0.1:" .. ports.socks,
      "-R", ("127.0.0.1:%d:127.0.0.1:%d"):format(ports.there, options.target),
      "-L", ("127.0.0.1:%d:127.0.0.1:%d"):format(ports.here, options.target),
    })
    for i, arg in ipairs(options) do
      table.insert(args, i, arg)
    end
    programs.start("ssh", args, { port = ports.there })
    programs.wait_port(ports.socks)
    return ports
  end

  it("carries -D, -L and -R, much, and many at once", helpers.task(function()
    start()
    local web = origin.nginx()
    local ports = tunnel_of { target = web.http }
    local big, copy = web.www .. "/big", web.folder .. "/copy"
    local sum = files.random(big, 64)
    for _, port in ipairs { ports.here, ports.there } do
      local where = "http://127.0.0.1:" .. port
      curl { "-o", copy, where .. "/big" }
      assert.equal(sum, files.md5(copy))
      curl { "-T", big, where .. "/up/big" }
      assert.equal(sum, files.md5(web.www .. "/up/big"))
    end
    local waits = {}
    for i = 1, 100 do
      waits[i] = helpers.spawn(function()
        return curl { "-x", "socks5h://127.0.0.1:" .. ports.socks, ("http://127.0.0.1:%d/whoami"):format(web.http) }
      end)
    end
    for i = 1, 100 do
      assert.equal("HTTP/1.1 127.0.0.1\n", waits[i]())
    end
    assert.is_nil(p:log():find '"level":"error"')
  end))

  it("goes on while keys are exchanged anew", helpers.task(function()
    start()
    local web = origin.nginx()
    local ports = tunnel_of { target = web.http, "-o", "RekeyLimit=1M" }
    local big, copy = web.www .. "/big", web.folder .. "/copy"
    local sum = files.random(big, 64)
    curl { "-o", copy, ("http://127.0.0.1:%d/big"):format(ports.here) }
    assert.equal(sum, files.md5(copy))
    curl { "-T", big, ("http://127.0.0.1:%d/up/big"):format(ports.here) }
    assert.equal(sum, files.md5(web.www .. "/up/big"))
  end))

  it("passes half-close on through -W, and abrupt ends", helpers.task(function()
    start()
    local seen = task.waiter()
    local where
    where, stop = server.count(function(code)
      seen:wake(code)
    end)
    local done = run({ key = keys .. "/user", "-W", where }, { stdin = ("x"):rep(300000) })
    assert.equal("got 300000", done.stdout)
    assert.equal("eof", (seen:wait(task.now() + 5000)))
    local client = programs.start("ssh", ssh.args(p:port(1), { key = keys .. "/user", "-W", where }))
    p:logged '<%->.*<%->'
    client:stop "sigkill"
    assert.is_truthy(seen:wait(task.now() + 5000))
  end))

  it("knows passwords and keys, also with passphrases, and says who was wrong", helpers.task(function()
    start()
    local web = origin.nginx()
    local get = { stdin = "GET /whoami HTTP/1.0\r\nHost: a\r\n\r\n" }
    local to = "127.0.0.1:" .. web.http
    assert.matches("200 OK", run({ key = keys .. "/user", "-W", to }, get).stdout)
    get.env = ssh.answering(keys, "phrase")
    assert.matches("200 OK", run({ key = keys .. "/rsa", "-W", to }, get).stdout)
    get.env = ssh.answering(keys, "p")
    assert.matches("200 OK", run({ "-W", to }, get).stdout)
    assert.matches('"clientID":"u"', p:log())
    get.env = ssh.answering(keys, "wrong")
    assert.matches("Permission denied", run({ "-W", to }, get).stderr)
    p:logged('login of \\"u\\" by password: wrong user or password', true)
    assert.matches("Permission denied", run({ key = keys .. "/other", "-W", to },
      { env = ssh.answering(keys, "wrong") }).stderr)
  end))

  it("refuses what is not forwarding, and targets that do not answer", helpers.task(function()
    start()
    assert.not_equal(0, run({ key = keys .. "/user", "true" }).code)
    local port = programs.free_port()
    run({ key = keys .. "/user", "-W", "127.0.0.1:" .. port })
    p:logged(("127.0.0.1:%d: Connection refused"):format(port), true)
    local done = run { key = keys .. "/user", "-N", "-o", "ExitOnForwardFailure=yes",
      "-R", ("127.0.0.1:%d:127.0.0.1:1"):format(p:port(1)) }
    assert.matches("remote port forwarding failed", done.stderr)
    p:logged "the client cannot listen on"
  end))

  it("chooses the port for -R 0, and stops listening with the client", helpers.task(function()
    start()
    local web = origin.nginx()
    local client = programs.start("ssh", ssh.args(p:port(1), {
      key = keys .. "/user", level = "INFO", "-N", "-R", "127.0.0.1:0:127.0.0.1:" .. web.http }))
    local port
    helpers.eventually(function()
      port = client.stderr:match "Allocated port (%d+)"
      return port
    end)
    assert.equal("HTTP/1.1 127.0.0.1\n", curl { ("http://127.0.0.1:%d/whoami"):format(port) })
    client:stop()
    helpers.eventually(function()
      return programs.run("curl", { "-s", "-m", "2", ("http://127.0.0.1:%d/"):format(port) }).code == 7
    end)
  end))
end)
