-- SSH servers and clients that others wrote with libraries, channels of gost's own type among them; and servers
-- that answer late, not at all, or what somebody has tampered with.
-- spec: timeout=120

local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local ssh = require "spec.helpers.ssh"
local libssh = require "tidegate.native.ssh"
local libssh2 = require "tidegate.native.ssh2"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

local PYTHON = "/usr/bin/python3"

local function own_descriptors()
  return proxy.descriptors(uv.os_getpid())
end

describe("SSH", function()
  local keys, stops

  before_each(helpers.task(function()
    keys, stops = ssh.keys(), {}
  end))

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    for _, stop in ipairs(stops) do
      stop()
    end
  end))

  local function accept(fn)
    local where, stop = server.accept(fn)
    stops[#stops + 1] = stop
    return where
  end

  local function echo()
    return accept(function(s)
      local part = s:read()
      while part and s:write(part) do
        part = s:read()
      end
      s:close()
    end)
  end

  local function paramiko(target, seconds)
    local port = programs.free_port()
    local peer = programs.start(PYTHON, { "spec/interop/peers/ssh_channels.py", tostring(port), keys .. "/rsa",
      tostring(target), seconds and tostring(seconds) }, { ready = "ready" })
    return port, peer
  end

  local function ask(p, where)
    return programs.run("curl", { "-s", "-m", "20", "-x", "socks5h://127.0.0.1:" .. p:port(1), where }).stdout
  end

  local function client(...)
    return proxy.start { "-L", "socks5://127.0.0.1:0", ... }
  end

  it("opens gost's channels at a foreign server", helpers.task(function()
    local web = origin.nginx()
    local relay = proxy.start { "-L", "relay://127.0.0.1:0" }
    local p = client("-F", "relay+ssh://u:p@127.0.0.1:" .. paramiko(relay:port(1)))
    local where = ("http://127.0.0.1:%d/whoami"):format(web.http)
    local waits = {}
    for i = 1, 10 do
      waits[i] = helpers.spawn(function()
        return ask(p, where)
      end)
    end
    for i = 1, 10 do
      assert.equal("HTTP/1.1 127.0.0.1\n", waits[i]())
    end
    assert.is_nil(p:log():find '"level":"error"')
    p:stop()
    p = client("-F", "relay+ssh://u:wrong@127.0.0.1:" .. paramiko(relay:port(1)))
    assert.equal("", ask(p, where))
    p:logged('refuses the login of \\"u\\" by password; it takes passwords', true)
  end))

  it("takes gost's channels of a foreign client", helpers.task(function()
    local p = proxy.start { "-L", ("tcp+ssh://u:p@127.0.0.1:0/%s?privateKeyFile=%s/host"):format(echo(), keys) }
    assert.equal("10\n", programs.output(PYTHON, { "spec/interop/peers/ssh_tunnel.py", tostring(p:port(1)), "u", "p" }))
  end))

  it("reads on after the server has answered a keep-alive", helpers.task(function()
    local port = paramiko(echo():match "%d+$")
    local session = assert(libssh2.client(assert(stream.dial("127.0.0.1:" .. port)), { user = "u", keepalive = 0.5 }))
    local deadline = task.now() + 15000
    assert(session:ready(deadline))
    assert.is_true(session:login_password("p", deadline))
    local s = assert(session:open_tunnel(deadline))
    s:set_deadline(deadline)
    local asked = session:silence()
    helpers.eventually(function()
      local before = asked
      asked = session:silence()
      return asked < before
    end, "no answer to a keep-alive", 10)
    s:write "still there"
    assert.equal("still there", s:read_exact(11))
    s:close()
    session:close()
  end))

  for name, library in pairs { libssh = libssh, libssh2 = libssh2 } do
    local function session_to(where)
      local session = assert(library.client(assert(stream.dial(where)), { user = "u" }))
      local deadline = task.now() + 10000
      assert(session:ready(deadline))
      assert.is_true(session:login_password("p", deadline))
      return session
    end

    local function open(session, deadline)
      if library == libssh2 then
        return session:open_tunnel(deadline)
      end
      return session:open("127.0.0.1", 1, "127.0.0.1", 1, deadline)
    end

    it("closes a channel that a server opens too late: " .. name, helpers.task(function()
      local port, peer = paramiko(echo():match "%d+$", 0.5)
      local session = session_to("127.0.0.1:" .. port)
      local none, err = open(session, task.now() + 100)
      assert.is_nil(none)
      assert.equal("timeout", err.code)
      helpers.eventually(function()
        return peer.stdout:find "closed"
      end, "the server still holds the channel")
      local s = assert(open(session, task.now() + 20000))
      s:set_deadline(task.now() + 20000)
      s:write "there and back"
      assert.equal("there and back", s:read_exact(14))
      session:close() -- with a channel open, and one asked for
      assert.is_nil((s:read()))
    end))

    it("closes a session whose channels are still being opened: " .. name, helpers.task(function()
      local port = paramiko(echo():match "%d+$", 0.3)
      local session = session_to("127.0.0.1:" .. port)
      local wait = helpers.spawn(function()
        return { open(session, task.now() + 20000) }
      end)
      task.sleep(0.05)
      session:close()
      local result = wait()
      assert.is_nil(result[1])
      assert.equal("closed", result[2].code)
    end))
  end

  it("holds nothing of sessions that have ended", helpers.task(function()
    local port = paramiko(echo():match "%d+$")
    local where = "http://127.0.0.1:1/"
    for _, node in ipairs { "sshd://u:wrong@127.0.0.1:%d", "relay+ssh://u:wrong@127.0.0.1:%d" } do
      local p = client("-F", node:format(port))
      ask(p, where)
      local before
      helpers.eventually(function()
        local now = p:descriptors()
        before, now = now, before
        return before == now
      end)
      for _ = 1, 5 do
        ask(p, where)
      end
      helpers.eventually(function()
        return p:descriptors() <= before
      end, "descriptors are left open")
      p:stop()
    end
    for _ = 1, 3 do
      local count = own_descriptors()
      local session = assert(libssh.client(assert(stream.dial("127.0.0.1:" .. port)), { user = "u" }))
      session:close() -- before it has begun
      assert.equal(count, own_descriptors())
    end
  end))

  it("delivers nothing that was changed on the way", helpers.task(function()
    local target = echo()
    local armed = {}
    local function pump(from, to, name)
      local part = from:read()
      while part do
        if armed[name] then
          part = part:sub(1, 8) .. string.char(bit.bxor(part:byte(9), 1)) .. part:sub(10)
          armed[name] = false
        end
        to:write(part)
        part = from:read()
      end
      to:close()
    end
    local own = proxy.start { "-L", ("sshd://root@127.0.0.1:0?privateKeyFile=%s/host&authorizedKeys=%s/authorized")
      :format(keys, keys) }
    local key = assert(libssh.key(io.open(keys .. "/user"):read "*a"))
    for _, port in ipairs { (ssh.server(keys)), own:port(1) } do
      for _, direction in ipairs { "there", "back" } do
        local between = accept(function(near)
          local far = assert(stream.dial("127.0.0.1:" .. port))
          task.spawn(pump, far, near, "back")
          pump(near, far, "there")
        end)
        local deadline = task.now() + 10000
        local session = assert(libssh.client(assert(stream.dial(between)), { user = "root" }))
        assert(session:ready(deadline))
        assert.is_true(session:login_key(key, deadline))
        local host, target_port = target:match "^(.*):(%d+)$"
        local s = assert(session:open(host, tonumber(target_port), "127.0.0.1", 1, deadline))
        s:set_deadline(deadline)
        s:write "whole"
        assert.equal("whole", s:read_exact(5))
        armed[direction] = true
        s:write "changed"
        local got, err = s:read()
        assert.is_nil(got)
        assert.not_equal("timeout", err.code)
        session:close()
      end
    end
    own:logged("what the peer sent was changed on the way", true)
  end))

  it("says which server does not answer, and does not wait for one that has left", helpers.task(function()
    local silent = accept(function(s)
      s:read()
      s:read()
      s:close()
    end)
    local half = accept(function(s)
      s:write "SSH-2.0-half"
      s:close()
    end)
    local far = proxy.start { "-L", "relay+tls://127.0.0.1:0" }
    local through = { "-F", "relay+tls://127.0.0.1:" .. far:port(1) }
    local function told(text, ...)
      local p = client(...)
      assert.equal("", ask(p, "http://127.0.0.1:1/"))
      p:logged(text, true)
      p:stop()
    end
    for _, scheme in ipairs { "relay+ssh", "sshd" } do
      local node = scheme .. "://u:p@%s?handshakeTimeout=300ms"
      local text = scheme == "sshd" and "SSH with the server: it does not answer" or "the server says nothing"
      told(text, "-F", node:format(silent))
      told(text, through[1], through[2], "-F", node:format(silent))
      node = scheme .. "://u:p@%s"
      told("SSH with the server: it hung up", "-F", node:format(half))
      told("SSH with the server: it hung up", through[1], through[2], "-F", node:format(half))
    end
  end))
end)
