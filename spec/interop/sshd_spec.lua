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
    assert.equal("eof", (seen:wait(task.now() + 20000)))
    local client = programs.start("ssh", ssh.args(p:port(1), { key = keys .. "/user", "-W", where }))
    p:logged '<%->.*<%->'
    client:stop "sigkill"
    assert.is_truthy(seen:wait(task.now() + 20000))
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
    p:logged('"clientID":"u"', true)
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

  -- Ask for a forward; the port that was bound, or nil.
  local function forward(options, where, port)
    options[#options + 1] = "-N"
    for _, arg in ipairs { "-o", "ExitOnForwardFailure=yes", "-R", where .. ":127.0.0.1:" .. port } do
      options[#options + 1] = arg
    end
    options.level = "INFO"
    local client = programs.start("ssh", ssh.args(p:port(1), options))
    local bound
    helpers.eventually(function()
      bound = tonumber(client.stderr:match "Allocated port (%d+)")
      return bound or client.over
    end)
    return bound, client
  end

  it("lets clients listen where the metadata, the service and the login allow it", helpers.task(function()
    local function by_key()
      return { key = keys .. "/user" }
    end
    start()
    assert.is_nil((forward(by_key(), "localhost:80", 1)))
    p:logged("ports below 1024 have to be named in the metadata bind", true)
    p:stop()

    start "&bind=localhost"
    assert.is_nil((forward(by_key(), "0.0.0.0:0", 1)))
    p:logged("the metadata bind does not have it", true)
    assert.is_number((forward(by_key(), "127.0.0.1:0", 1)))
    p:stop()

    start "&bypass=127.0.0.0/8"
    assert.is_nil((forward(by_key(), "127.0.0.1:0", 1)))
    p:logged "cannot listen on 127.0.0.1:0: bypass"
    p:stop()

    p = proxy.start { "-L", ("sshd://127.0.0.1:0?privateKeyFile=%s/host"):format(keys) }
    assert.is_nil((forward({}, "127.0.0.1:0", 1)))
    p:logged("clients that need no login may not listen", true)
  end))

  it("admits, limits and logs who comes to a port that a client had opened", helpers.task(function()
    local web = origin.nginx()
    start()
    local port = forward({ key = keys .. "/user" }, "127.0.0.1:0", web.http)
    local where = "127.0.0.1:" .. port
    assert.equal("HTTP/1.1 127.0.0.1\n", curl { "http://" .. where .. "/whoami" })
    helpers.eventually(function()
      for line in p:log():gmatch "[^\n]+" do
        if line:find(('"host":"%s"'):format(where), 1, true) and line:find('"clientID":"u"', 1, true) then
          return true
        end
      end
    end, "no line about the peer")
    p:stop()
    start "&climiter=1" -- which the SSH connection is
    port = forward({ key = keys .. "/user" }, "127.0.0.1:0", web.http)
    assert.not_equal(0, programs.run("curl", { "-s", "-m", "20", ("http://127.0.0.1:%d/whoami"):format(port) }).code)
  end))

  it("looks into what it forwards, where it is told to", helpers.task(function()
    start "&sniffing=true&bypass=secret.example"
    local web = origin.nginx()
    local ports = tunnel_of { target = web.http }
    local way = { "-x", "socks5h://127.0.0.1:" .. ports.socks, ("http://127.0.0.1:%d/whoami"):format(web.http) }
    assert.equal("HTTP/1.1 127.0.0.1\n", curl(way))
    table.insert(way, 1, "Host: secret.example")
    table.insert(way, 1, "-H")
    assert.not_equal(0, programs.run("curl", { "-s", "-f", "-m", "20", unpack(way) }).code)
  end))

  it("is a jump host", helpers.task(function()
    start()
    local port = ssh.server(keys)
    local config = programs.file(keys, "config", ([[
Host *
  IdentityFile %s/user
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
]]):format(keys))
    local done = programs.run("ssh", { "-F", config, "-J", "u@127.0.0.1:" .. p:port(1), "-p", tostring(port),
      "root@127.0.0.1", "echo there" })
    assert.equal("there\n", done.stdout)
  end))
end)
