-- SSH as a transport, and as a way through OpenSSH's server.
-- spec: timeout=300

local files = require "spec.helpers.files"
local helpers = require "spec.helpers"
local json = require "cjson"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local socks = require "spec.helpers.socks"
local ssh = require "spec.helpers.ssh"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local curl = origin.curl

describe("SSH", function()
  local keys, stop

  before_each(helpers.task(function()
    keys = ssh.keys()
  end))

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    if stop then
      stop()
      stop = nil
    end
  end))

  local function client(node)
    return proxy.start { "-L", "socks5://127.0.0.1:0", "-F", node }
  end

  -- One process with two services, each with a chain of its own.
  local function two_ways(...)
    local whole = { services = {}, chains = {} }
    for i, node in ipairs { ... } do
      local done = proxy.run { "convert", "--to", "json", "-L", "socks5://127.0.0.1:0", "-F", node }
      local one = json.decode(done.stdout)
      one.services[1].name, one.services[1].handler.chain, one.chains[1].name = "s" .. i, "c" .. i, "c" .. i
      whole.services[i], whole.chains[i] = one.services[1], one.chains[1]
    end
    return proxy.start({ "-C", json.encode(whole) }, { services = 2 })
  end

  local function ask(p, port, path)
    return programs.run("curl", { "-s", "-m", "20", "-x", "socks5h://127.0.0.1:" .. p:port(1),
      ("http://127.0.0.1:%d%s"):format(port, path or "/whoami") }).stdout
  end

  local function ours(listener)
    return function(port)
      local p = proxy.start { "-L", ("%s://u:p@127.0.0.1:%d?privateKeyFile=%s/host"):format(listener, port or 0, keys) }
      return p:port(1), function()
        p:stop "sigkill"
      end
    end
  end

  -- Who is behind a kind of node: a node's URL with a %d for the port, and a function that starts the
  -- server (again on a given port) and returns the port and what kills it and its connections.
  local KINDS = {
    ["the transport ssh"] = { node = "relay+ssh://u:p@127.0.0.1:%d", start = ours "relay+ssh" },
    ["sshd to sshd"] = { node = "sshd://u:p@127.0.0.1:%d", start = ours "sshd" },
    ["OpenSSH's server"] = {
      node = "sshd://root@127.0.0.1:%d?privateKeyFile=KEYS/rsa&passphrase=phrase",
      start = function(given)
        local port, openssh = ssh.server(keys, nil, given)
        return port, function()
          openssh:cut()
        end
      end,
    },
  }

  for name, kind in pairs(KINDS) do
    describe("through " .. name, function()
      local function pair()
        local port = kind.start()
        return client(kind.node:format(port):gsub("KEYS", keys)), port
      end

      it("carries much, both ways, and many at once", helpers.task(function()
        local web = origin.nginx()
        local p = pair()
        local way = "socks5h://127.0.0.1:" .. p:port(1)
        local big, copy = web.www .. "/big", web.folder .. "/copy"
        local sum = files.random(big, 64)
        curl { "-x", way, "-o", copy, ("http://127.0.0.1:%d/big"):format(web.http) }
        assert.equal(sum, files.md5(copy))
        curl { "-x", way, "-T", big, ("http://127.0.0.1:%d/up/big"):format(web.http) }
        assert.equal(sum, files.md5(web.www .. "/up/big"))
        local waits = {}
        for i = 1, 100 do
          waits[i] = helpers.spawn(function()
            local s = socks.connect(p:port(1), "127.0.0.1:" .. web.http)
            s:write "GET /whoami HTTP/1.0\r\nHost: a\r\n\r\n"
            local head = s:read_until("\r\n\r\n", 4096)
            s:close()
            return head
          end)
        end
        for i = 1, 100 do
          assert.matches("^HTTP/1.1 200", waits[i]())
        end
        assert.is_nil(p:log():find '"level":"error"')
      end))

      it("passes half-close on, and abrupt ends", helpers.task(function()
        local p = pair()
        server.check_ends(function(where)
          return socks.connect(p:port(1), where)
        end)
      end))
    end)
  end

  for name, kind in pairs(KINDS) do
    it("replaces a session that has died, and leaves others alone: " .. name, helpers.task(function()
      local echo
      echo, stop = server.echo()
      local port, kill = kind.start()
      local other = kind.start()
      local node = kind.node:gsub("KEYS", keys)
      local p = two_ways(node:format(port), node:format(other))
      local function echoes(s)
        s:write "there and back"
        return s:read_exact(14)
      end
      local here, there = socks.connect(p:port(1), echo), socks.connect(p:port(2), echo)
      assert.equal("there and back", echoes(here))
      assert.equal("there and back", echoes(there))
      kill()
      local _, err = here:read()
      assert.not_equal("timeout", err.code)
      here:close()
      assert.equal("there and back", echoes(there))
      kind.start(port)
      for _ = 1, 3 do
        here = socks.connect(p:port(1), echo)
        assert.equal("there and back", echoes(here))
        here:close()
      end
      assert.equal("there and back", echoes(there))
      there:close()
    end))
  end

  it("opens and refuses ways beside many that the server is still busy with", helpers.task(function()
    local echo
    echo, stop = server.echo()
    local full = programs.start("python3", { "-c", [[
import socket, time
l = socket.socket()
l.bind(("127.0.0.1", 0))
l.listen(0)
held = [socket.socket() for _ in range(4)]
for one in held:
    one.setblocking(False)
    one.connect_ex(l.getsockname())
print("ready", l.getsockname()[1], flush=True)
time.sleep(60)]] }, { ready = "ready (%d+)" })
    local hangs = "127.0.0.1:" .. full.stdout:match "ready (%d+)"
    local node = KINDS["OpenSSH's server"].node:format((ssh.server(keys))):gsub("KEYS", keys)
    local p = client(node)
    local waits = {}
    for i = 1, 12 do
      waits[i] = helpers.spawn(function()
        return pcall(socks.connect, p:port(1), hangs)
      end)
    end
    helpers.eventually(function()
      return select(2, p:log():gsub('"msg":"[^"]* <> ', "")) == 12
    end)
    for _ = 1, 12 do
      local s = socks.connect(p:port(1), echo)
      s:write "beside"
      assert.equal("beside", s:read_exact(6))
      s:close()
      local refused = programs.run("curl", { "-sS", "-m", "20", "-x", "socks5h://127.0.0.1:" .. p:port(1),
        ("http://127.0.0.1:%d/"):format(programs.free_port()) })
      assert.equal(97, refused.code, refused.stderr)
    end
    p:stop "sigkill"
    for i = 1, 12 do
      assert.is_false((waits[i]()))
    end
  end))

  it("goes through other nodes, and others through it", helpers.task(function()
    local web = origin.nginx()
    local far = proxy.start {
      "-L", "relay+tls://127.0.0.1:0",
      "-L", ("relay+ssh://u:p@127.0.0.1:0?privateKeyFile=%s/host"):format(keys),
      "-L", ("sshd://u:p@127.0.0.1:0?privateKeyFile=%s/host"):format(keys),
      "-L", "socks5+mtcp://127.0.0.1:0",
    }
    local p = proxy.start {
      "-L", "socks5://127.0.0.1:0",
      "-F", "relay+tls://127.0.0.1:" .. far:port(1),
      "-F", "relay+ssh://u:p@127.0.0.1:" .. far:port(2),
      "-F", "sshd://u:p@127.0.0.1:" .. far:port(3),
      "-F", "socks5+mtcp://127.0.0.1:" .. far:port(4),
    }
    for _ = 1, 3 do
      assert.equal("HTTP/1.1 127.0.0.1\n", ask(p, web.http))
    end
  end))

  it("logs in with keys, and says which side is wrong", helpers.task(function()
    local web = origin.nginx()
    local listen = ("privateKeyFile=%s/host&authorizedKeys=%s/authorized"):format(keys, keys)
    local far = proxy.start {
      "-L", "relay+ssh://u:p@127.0.0.1:0?" .. listen, "-L", "sshd://u:p@127.0.0.1:0?" .. listen,
      "-L", "relay://127.0.0.1:0",
    }
    for i, scheme in ipairs { "relay+ssh", "sshd" } do
      local p = client(("%s://x@127.0.0.1:%d?privateKeyFile=%s/user"):format(scheme, far:port(i), keys))
      assert.equal("HTTP/1.1 127.0.0.1\n", ask(p, web.http))
      p:stop()

      local known = programs.file(keys, "known" .. i, ("[127.0.0.1]:%d %s"):format(far:port(i),
        io.open(keys .. "/host.pub"):read "*l"))
      p = client(("%s://u:p@127.0.0.1:%d?knownHosts=%s"):format(scheme, far:port(i), known))
      assert.equal("HTTP/1.1 127.0.0.1\n", ask(p, web.http))
      p:stop()

      local function failing(node, text)
        local one = client(node:format(scheme, far:port(i)))
        assert.equal("", ask(one, web.http))
        one:logged(text, true)
        one:stop()
      end
      failing("%s://u:wrong@127.0.0.1:%d", 'refuses the login of \\"u\\" by password; it takes ')
      failing("%s://u@127.0.0.1:%d?privateKeyFile=" .. keys .. "/other", 'refuses the login of \\"u\\" by public key')
      local other = programs.file(keys, "bad" .. i, ("[127.0.0.1]:%d %s"):format(far:port(i),
        io.open(keys .. "/other.pub"):read "*l"))
      failing("%s://u:p@127.0.0.1:%d?knownHosts=" .. other, "the server's key (")
      failing("%s://u:p@127.0.0.1:%d?knownHosts=" .. keys .. "/none", "cannot read " .. keys .. "/none")
    end
    far:logged "login of"

    local p = client(("relay+ssh://u:p@127.0.0.1:%d"):format(far:port(2)))
    assert.equal("", ask(p, web.http))
    p:logged("does it have the listener ssh?", true)
    p:stop()
    p = client(("sshd://u:p@127.0.0.1:%d"):format(far:port(1)))
    assert.equal("", ask(p, web.http))
    p:logged("the server refuses the channel", true)
    p:stop()
    p = client(("sshd://u:p@127.0.0.1:%d?handshakeTimeout=1s"):format(far:port(3)))
    assert.equal("", ask(p, web.http))
    p:logged("SSH with the server: ", true)
  end))

  it("has a server listen: OpenSSH's and ours", helpers.task(function()
    local native = require "tidegate.native.ssh"
    local connector = require("tidegate.component").find("connector", "sshd")
    local own = proxy.start { "-L", ("sshd://root@127.0.0.1:0?privateKeyFile=%s/host&authorizedKeys=%s/authorized")
      :format(keys, keys) }
    local key = assert(native.key(io.open(keys .. "/user"):read "*a"))
    for _, port in ipairs { (ssh.server(keys)), own:port(1) } do
      local session
      local door = {
        session = function(_, deadline)
          session = assert(native.client(assert(stream.dial("127.0.0.1:" .. port)), { user = "root" }))
          assert(session:ready(deadline))
          assert.is_true((session:login_key(key, deadline)))
          return session
        end,
      }
      local deadline = task.now() + 10000
      local acceptor = assert(connector:bind(nil, door, "tcp", "127.0.0.1:0", deadline))
      local peer = assert(stream.dial(acceptor:address(), nil, deadline))
      peer:set_deadline(deadline)
      local channel, from = acceptor:accept(deadline)
      assert.equal(peer:local_address(), from)
      peer:write "there"
      peer:shutdown()
      assert.equal("there", channel:read_exact(5))
      channel:write "and back"
      assert.equal("and back", peer:read_exact(8))
      channel:close()
      peer:close()
      assert.is_nil((connector:bind(nil, door, "tcp", "192.0.2.1:0", deadline)))
      acceptor:close()
    end
  end))

  it("says what is wrong with key files when it starts", helpers.task(function()
    local function bad(args, text)
      local done = proxy.run { "-L", args[1], unpack(args, 2) }
      assert.not_equal(0, done.code)
      assert.matches(text, done.stderr .. done.stdout, 1, true)
    end
    bad({ "sshd://:0?privateKeyFile=/nowhere/key" }, "cannot read /nowhere/key")
    bad({ ("sshd://:0?privateKeyFile=%s/rsa"):format(keys) }, "it needs a passphrase")
    bad({ ("ssh://:0?privateKeyFile=%s/rsa&passphrase=no"):format(keys) }, "wrong passphrase")
    bad({ ("sshd://:0?authorizedKeys=%s/host"):format(keys) }, "host:1: not a public key")
    bad({ "socks5://:0", "-F", ("sshd://127.0.0.1:1?privateKeyFile=%s/user.pub"):format(keys) }, "not a private key")
    bad({ "socks5://:0", "-F", "socks5+sshd://127.0.0.1:1" }, "goes with the connector sshd only")
  end))
end)
