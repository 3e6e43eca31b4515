-- Logging in over SSH, in both roles: agents, certificates, questions, options of keys; known hosts.
-- spec: timeout=180

local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local ssh = require "spec.helpers.ssh"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

describe("SSH logins", function()
  local keys, web

  before_each(helpers.task(function()
    keys = ssh.keys()
    web = origin.nginx()
  end))

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  local function client(node, env)
    return proxy.start({ "-L", "socks5://127.0.0.1:0", "-F", node }, { env = env })
  end

  local function ask(p)
    return programs.run("curl", { "-s", "-m", "20", "-x", "socks5h://127.0.0.1:" .. p:port(1),
      ("http://127.0.0.1:%d/whoami"):format(web.http) }).stdout
  end

  local GOOD = "HTTP/1.1 127.0.0.1\n"

  local function good(node, env)
    local p = client(node, env)
    assert.equal(GOOD, ask(p))
    p:stop()
  end

  local function bad(node, text, env)
    local p = client(node, env)
    assert.equal("", ask(p))
    p:logged(text, true)
    p:stop()
  end

  local function serve(listener)
    return proxy.start { "-L", listener:gsub("KEYS", keys) }
  end

  local function agent_with(...)
    local path = keys .. "/agent"
    programs.start("ssh-agent", { "-D", "-a", path })
    helpers.eventually(function()
      return programs.run("ssh-add", { "-l" }, { env = { SSH_AUTH_SOCK = path } }).code == 1
    end, "the agent does not answer")
    for _, name in ipairs { ... } do
      programs.output("ssh-add", { "-q", keys .. "/" .. name }, { env = { SSH_AUTH_SOCK = path } })
    end
    return path
  end

  -- One that takes connections and says nothing.
  local function hung_agent()
    local path = keys .. "/hung"
    programs.start("socat", { "UNIX-LISTEN:" .. path .. ",fork", "SYSTEM:sleep 100" })
    helpers.eventually(function()
      return require("luv").fs_stat(path) ~= nil
    end, "no socket")
    return path
  end

  local function public(name)
    return io.open(keys .. "/" .. name .. ".pub"):read "*l"
  end

  for _, case in ipairs { "sshd://root@127.0.0.1:%d", "relay+ssh://x@127.0.0.1:%d?agent=SSH_AUTH_SOCK" } do
    local scheme = case:match "^[^:]+"
    it("hold up nobody when an agent hangs: " .. scheme, helpers.task(function()
      local port = scheme == "sshd" and ssh.server(keys) or proxy.start {
        "-L", ("relay+ssh://127.0.0.1:0?privateKeyFile=%s/host&authorizedKeys=%s/authorized"):format(keys, keys),
      }:port(1)
      local where, stop = server.echo()
      local path = hung_agent()
      local p = proxy.start({ "--workers", "1", "-L", "socks5://127.0.0.1:0", "-L",
        ("tcp://127.0.0.1:0/%s?ignoreChain=true"):format(where), "-F", case:format(port) },
        { env = { SSH_AUTH_SOCK = path } })
      local asking = helpers.spawn(ask, p)
      for _ = 1, 20 do
        local s = assert(stream.dial("127.0.0.1:" .. p:port(2)))
        s:set_deadline(task.now() + 20000)
        s:write "hello"
        assert.equal("hello", s:read_exact(5))
        s:close()
        task.sleep(0.05)
      end
      assert.is_nil(p:log():find("the SSH agent", 1, true))
      assert.equal("", asking())
      p:logged(("the SSH agent at %s (SSH_AUTH_SOCK) does not answer; `agent` in the dialer's"):format(path), true)
      stop()
    end))
  end

  it("say what is wrong with an agent", helpers.task(function()
    local openssh = ssh.server(keys)
    bad(("sshd://root@127.0.0.1:%d?agent=%s/nothing"):format(openssh, keys),
      ("the SSH agent at %s/nothing cannot be reached: "):format(keys))
    bad(("sshd://root:wrong@127.0.0.1:%d"):format(openssh),
      "; and the SSH agent at /no (SSH_AUTH_SOCK) cannot be reached", { SSH_AUTH_SOCK = "/no" })
  end))

  it("use the keys of an agent", helpers.task(function()
    local path = agent_with("other", "user")
    local env = { SSH_AUTH_SOCK = path }
    local openssh = ssh.server(keys)
    good(("sshd://root@127.0.0.1:%d"):format(openssh), env)
    good(("sshd://root@127.0.0.1:%d?agent=%s"):format(openssh, path))
    bad(("sshd://root@127.0.0.1:%d?agent=none"):format(openssh), "by no secret; it takes public keys", env)
    local far = proxy.start {
      "-L", ("relay+ssh://127.0.0.1:0?privateKeyFile=%s/host&authorizedKeys=%s/authorized"):format(keys, keys),
    }
    good(("relay+ssh://x@127.0.0.1:%d?agent=%s"):format(far:port(1), path))
    programs.output("ssh-add", { "-q", "-d", keys .. "/user" }, { env = env })
    bad(("sshd://root@127.0.0.1:%d"):format(openssh), "by the agent's keys; it takes public keys", env)
  end))

  it("show certificates", helpers.task(function()
    programs.output("ssh-keygen", { "-q", "-s", keys .. "/host", "-I", "id", "-n", "root", keys .. "/other.pub" })
    local openssh = ssh.server(keys, ("TrustedUserCAKeys %s/host.pub\n"):format(keys))
    local node = ("sshd://root@127.0.0.1:%d?privateKeyFile=%s/"):format(openssh, keys)
    good(node .. "other") -- its certificate lies beside it
    programs.output("mv", { keys .. "/other-cert.pub", keys .. "/elsewhere" })
    bad(node .. "other", "by public key; it takes public keys")
    good(node .. "other&certificateFile=" .. keys .. "/elsewhere")
    node = node .. "other&certificateFile=" .. keys .. "/user.pub"
    local done = proxy.run { "-L", "socks5://127.0.0.1:0", "-F", node }
    assert.not_equal(0, done.code)
    assert.matches("user.pub: not a certificate", done.stderr)
  end))

  it("answer questions with the password, and ask them", helpers.task(function()
    local port = programs.free_port()
    local peer = { "spec/interop/peers/ssh_questions.py", tostring(port), keys .. "/rsa", "p" }
    programs.start("/usr/bin/python3", peer, { port = port })
    good(("sshd://u:p@127.0.0.1:%d"):format(port))
    bad(("sshd://u:no@127.0.0.1:%d"):format(port), "by password; it takes keyboard-interactive")

    local p = serve "sshd://u:p@127.0.0.1:0?privateKeyFile=KEYS/host"
    local get = { stdin = "GET /whoami HTTP/1.0\r\nHost: a\r\n\r\n", env = ssh.answering(keys, "p") }
    local args = ssh.args(p:port(1), {
      "-W", "127.0.0.1:" .. web.http })
    table.insert(args, 1, "PreferredAuthentications=keyboard-interactive")
    table.insert(args, 1, "-o")
    assert.matches("200 OK", programs.run("ssh", args, get).stdout)
    get.env = ssh.answering(keys, "wrong")
    assert.matches("Permission denied", programs.run("ssh", args, get).stderr)
    p:logged('login of \\"u\\" by password: wrong user or password', true)
  end))

  local function get_by(p, user, name, target)
    return programs.run("ssh", ssh.args(p:port(1), {
      user = user .. "@127.0.0.1", key = keys .. "/" .. name, "-W", target or "127.0.0.1:" .. web.http,
    }), { stdin = "GET /whoami HTTP/1.0\r\nHost: a\r\n\r\n", seconds = 40 })
  end

  it("are those of OpenSSH's client with an agent, which knows the server by its key", helpers.task(function()
    local p = serve "sshd://127.0.0.1:0?privateKeyFile=KEYS/host&authorizedKeys=KEYS/authorized"
    local get = {
      stdin = "GET /whoami HTTP/1.0\r\nHost: a\r\n\r\n", env = { SSH_AUTH_SOCK = agent_with("other", "user") },
    }
    programs.output("mv", { keys .. "/user", keys .. "/away" }) -- only the agent has it
    for name, expected in pairs { host = "200 OK", other = "Host key verification failed" } do
      local known = programs.file(keys, "known-" .. name, ("[127.0.0.1]:%d %s\n"):format(p:port(1), public(name)))
      local done = programs.run("ssh", ssh.args(p:port(1), {
        key = keys .. "/user.pub", known = known, "-W", "127.0.0.1:" .. web.http }), get)
      assert.matches(expected, done.stdout .. done.stderr)
    end
  end))

  it("look at the keys of the user alone", helpers.task(function()
    programs.file(keys, "keys-ann", public "user" .. "\n")
    programs.file(keys, "keys-bob", public "other" .. "\n")
    local p = serve "sshd://127.0.0.1:0?privateKeyFile=KEYS/host&authorizedKeys=KEYS/keys-%25u"
    assert.matches("200 OK", get_by(p, "ann", "user").stdout)
    assert.matches("200 OK", get_by(p, "bob", "other").stdout)
    assert.matches("Permission denied", get_by(p, "bob", "user").stderr)
    assert.matches("Permission denied", get_by(p, "../keys-ann", "user").stderr)
    assert.matches("Permission denied", get_by(p, "nobody", "user").stderr)
  end))

  it("keep to the options of keys", helpers.task(function()
    programs.file(keys, "limited", table.concat({
      ('permitopen="127.0.0.1:%d",permitlisten="none:1" %s'):format(web.http, public "user"),
      ('from="192.0.2.0/24" %s'):format(public "other"), "",
    }, "\n"))
    local p = serve "sshd://127.0.0.1:0?privateKeyFile=KEYS/host&authorizedKeys=KEYS/limited"
    assert.matches("200 OK", get_by(p, "u", "user").stdout)
    assert.equal("", get_by(p, "u", "user", "127.0.0.1:1").stdout)
    p:logged "127.0.0.1:1: the key's options do not permit it"
    assert.matches("Permission denied", get_by(p, "u", "other").stderr)
    p:logged("the public key is not for clients at 127.0.0.1", true)
    local done = programs.run("ssh", ssh.args(p:port(1), { key = keys .. "/user", "-N", "-o",
      "ExitOnForwardFailure=yes", "-R", "127.0.0.1:0:127.0.0.1:1" }))
    assert.matches("remote port forwarding failed", done.stderr)
    p:logged "cannot listen on .* the key's options do not permit it"
  end))

  it("know the server by the kind of key that the file has", helpers.task(function()
    local openssh = ssh.server(keys, ("HostKey %s/other\n"):format(keys))
    programs.output("ssh-keygen", { "-q", "-t", "ecdsa", "-N", "", "-f", keys .. "/ec" })
    local both = ssh.server(keys, ("HostKey %s/ec\n"):format(keys))
    local node = "sshd://root@127.0.0.1:%d?privateKeyFile=" .. keys .. "/user&knownHosts=" .. keys .. "/"
    programs.file(keys, "known", ("[127.0.0.1]:%d %s\n[127.0.0.1]:%d %s\n"):format(openssh, public "other",
      both, public "host"))
    programs.file(keys, "known-ec", ("127.0.0.1 %s\n"):format(public "ec"))
    programs.file(keys, "revoked", ("127.0.0.1 %s\n@revoked * %s\n"):format(public "host", public "host"))
    good(node:format(openssh) .. "known")
    good(node:format(both) .. "known")
    good(node:format(both) .. "known-ec")
    bad(node:format(both) .. "revoked", "revoked:2: do not use this server")
    bad(node:format(openssh) .. "known-ec", "SSH with the server: ")
  end))

  it("use RSA keys, however far the server is", helpers.task(function()
    local far = serve "relay+ssh://127.0.0.1:0?privateKeyFile=KEYS/host&authorizedKeys=KEYS/authorized"
    local where, stop = server.accept(function(s)
      local up = assert(stream.dial("127.0.0.1:" .. far:port(1)))
      helpers.spawn(function()
        local part = s:read()
        while part and up:write(part) do
          part = s:read()
        end
        up:close()
      end)
      local part = up:read()
      while part do
        task.sleep(0.02)
        part = s:write(part) and up:read()
      end
      s:close()
    end)
    good(("relay+ssh://u@%s?privateKeyFile=%s/rsa&passphrase=phrase"):format(where, keys))
    stop()
  end))

  it("say that a key is encrypted", helpers.task(function()
    programs.output("cp", { "-p", keys .. "/rsa", keys .. "/pem" })
    programs.output("ssh-keygen", { "-q", "-p", "-m", "PEM", "-P", "phrase", "-N", "phrase", "-f", keys .. "/pem" })
    assert.matches("^%-%-%-%-%-BEGIN RSA PRIVATE KEY", io.open(keys .. "/pem"):read "*a")
    for _, name in ipairs { "rsa", "pem" } do
      local done = proxy.run { "-L", "sshd://127.0.0.1:0?privateKeyFile=" .. keys .. "/" .. name }
      assert.matches("the key is encrypted, it needs a passphrase", done.stderr)
    end
  end))

  it("take the passphrase from the keyring", helpers.task(function()
    programs.output("mkdir", { keys .. "/bin" })
    programs.file(keys, "bin/secret-tool", '#!/bin/sh\n[ "$*" = "lookup service SSH ' .. keys
      .. '/rsa username root" ] && echo phrase\n')
    programs.output("chmod", { "755", keys .. "/bin/secret-tool" })
    local env = { PATH = keys .. "/bin:" .. os.getenv "PATH" }
    local openssh = ssh.server(keys)
    good(("sshd://root@127.0.0.1:%d?privateKeyFile=%s/rsa&passphraseFromKeyring=true"):format(openssh, keys), env)
    local url = ("sshd://127.0.0.1:0?privateKeyFile=%s/rsa&passphraseFromKeyring=true"):format(keys)
    local done = proxy.run({ "-L", url }, { env = env })
    assert.matches("no passphrase in the keyring", done.stderr)
  end))
end)
