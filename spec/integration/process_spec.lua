-- The process: reload, drain, hooks, the service manager, printing and exit codes.

local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local function forward(name, port, target, extra)
  return ([[
  - name: %s
    addr: 127.0.0.1:%d
    handler: { type: tcp }
    listener: { type: tcp }
    forwarder: { nodes: [ { name: t, addr: "%s" } ] }
%s]]):format(name, port, target, extra or "")
end

local function greeting(port)
  local s, err = stream.dial("127.0.0.1:" .. port, nil, task.now() + 2000)
  if not s then
    return nil, err.code
  end
  s:set_deadline(task.now() + 2000)
  local text = s:read()
  s:close()
  return text
end

describe("reload", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("changes what changed and keeps connections", helpers.task(function()
    local one, stop_one = server.echo "one"
    local two, stop_two = server.echo "two"
    local a, b, c = programs.free_port(), programs.free_port(), programs.free_port()
    local folder = programs.folder()
    local path = programs.file(folder, "c.yml",
      "services:\n" .. forward("a", a, one) .. forward("b", b, one))
    local p = proxy.start({ "-C", path }, { services = 2 })
    local old_a, old_b = assert(stream.dial("127.0.0.1:" .. a)), assert(stream.dial("127.0.0.1:" .. b))
    assert.equal("one", old_a:read())
    assert.equal("one", old_b:read())

    programs.file(folder, "c.yml", "services:\n" .. forward("a", a, two) .. forward("c", c, two))
    p:kill "sighup"
    p:logged "configuration reloaded"
    assert.equal("two", greeting(a))
    assert.equal("two", greeting(c))
    assert.same({ nil, "refused" }, { greeting(b) })
    for _, s in ipairs { old_a, old_b } do -- what ran goes on
      s:write "ping"
      assert.equal("ping", s:read())
      s:close()
    end
    stop_one()
    stop_two()
  end))

  it("leaves everything as it is when the new configuration is wrong", helpers.task(function()
    local one, stop_one = server.echo "one"
    local a = programs.free_port()
    local folder = programs.folder()
    local path = programs.file(folder, "c.yml", "services:\n" .. forward("a", a, one))
    local p = proxy.start({ "-C", path }, { services = 1 })
    programs.file(folder, "c.yml", "services:\n" .. forward("a", a, "nonsense")
      .. "  - name: b\n    handler: { type: sock5 }\n")
    p:kill "sighup"
    p:logged("stays in force", true)
    p:logged "c.yml:%d+"
    p:logged("sock5", true)
    assert.equal("one", greeting(a))

    programs.file(folder, "c.yml", "services:\n" .. forward("a", a, one) ..
      forward("b", tonumber(one:match ":(%d+)$"), one))
    p:kill "sighup"
    p:logged "in use"
    assert.equal("one", greeting(a))
    stop_one()
  end))

  it("reloads by itself with -R", helpers.task(function()
    local one, stop_one = server.echo "one"
    local two, stop_two = server.echo "two"
    local a, folder = programs.free_port(), programs.folder()
    local path = programs.file(folder, "c.yml", "services:\n" .. forward("a", a, one))
    proxy.start({ "-C", path, "-R", "100ms" }, { services = 1 })
    programs.file(folder, "c.yml", "services:\n" .. forward("a", a, two))
    helpers.eventually(function()
      return greeting(a) == "two"
    end)
    stop_one()
    stop_two()
  end))

  it("survives many reloads under traffic", helpers.task(function()
    local one, stop_one = server.echo "one"
    local a, folder = programs.free_port(), programs.folder()
    local path = programs.file(folder, "c.yml", "services:\n" .. forward("a", a, one))
    local p = proxy.start({ "-C", path }, { services = 1 })
    local finished, good = false, 0
    local traffic = helpers.spawn(function()
      while not finished do
        assert(greeting(a) == "one")
        good = good + 1
      end
    end)
    for n = 1, 20 do
      programs.file(folder, "c.yml", "services:\n"
        .. forward("a", a, one, n % 2 == 0 and "    metadata: { labels: { n: 1 } }\n" or ""))
      p:kill "sighup"
      helpers.eventually(function()
        return select(2, p:log():gsub("configuration reloaded", "")) >= n
      end)
    end
    helpers.eventually(function()
      return good > 20
    end, "no traffic")
    finished = true
    traffic()
    stop_one()
  end))
end)

describe("ending", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("lets connections finish, then exits with 0", helpers.task(function()
    local one, stop_one = server.echo "one"
    local p = proxy.start { "--drain", "20s", "-L", "tcp://127.0.0.1:0/" .. one }
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
    assert.equal("one", s:read())
    p:kill "sigterm"
    p:logged("waiting up to", true)
    assert.same({ nil, "refused" }, { greeting(p:port(1)) })
    s:write "still"
    assert.equal("still", s:read())
    s:close()
    helpers.eventually(function()
      return p.process.over
    end)
    assert.equal(0, p.process.code)
    stop_one()
  end))

  it("is cut short by another signal, without a connection or session that goes unmentioned", helpers.task(function()
    local one, stop_one = server.echo "one"
    local p = proxy.start { "--drain", "60s", "-L", "socks5://127.0.0.1:0?udp=true", "-L", "tcp://127.0.0.1:0/" .. one }
    local s = assert(stream.dial("127.0.0.1:" .. p:port(2)))
    assert.equal("one", s:read())
    local control = assert(stream.dial("127.0.0.1:" .. p:port(1)))
    control:write "\5\1\0"
    assert.equal("\5\0", control:read_exact(2))
    control:write "\5\3\0\1\0\0\0\0\0\0"
    assert.equal("\5\0\0\1", control:read_exact(4))
    p:kill "sigterm"
    p:logged("waiting up to 60s for 2 connections", true)
    assert.equal(0, (p:stop "sigterm"))
    local _, ends = p:log():gsub(" >%-< ", "")
    assert.equal(2, ends)
    s:close()
    control:close()
    stop_one()
  end))

  it("closes what has not finished when the time is up", helpers.task(function()
    local one, stop_one = server.echo "one"
    local p = proxy.start { "--drain", "200ms", "-L", "tcp://127.0.0.1:0/" .. one }
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
    assert.equal("one", s:read())
    assert.equal(0, (p:stop "sigint"))
    assert.is_nil(s:read())
    s:close()
    stop_one()
  end))
end)

describe("hooks", function()
  it("run in order around a service's life", helpers.task(function()
    local folder = programs.folder()
    local log = folder .. "/log"
    local one, stop_one = server.echo "one"
    local lines = { "    metadata:\n" }
    for _, stage in ipairs { "preUp", "postUp", "preDown", "postDown" } do
      lines[#lines + 1] = ("      %s: [\"sh -c 'echo %s >> %s'\"]\n"):format(stage, stage, log)
    end
    local path = programs.file(folder, "c.yml", "services:\n"
      .. forward("a", programs.free_port(), one, table.concat(lines)))
    local p = proxy.start({ "-C", path }, { services = 1 })
    helpers.eventually(function()
      return programs.run("cat", { log }).stdout == "preUp\npostUp\n"
    end)
    p:stop()
    assert.equal("preUp\npostUp\npreDown\npostDown\n", programs.output("cat", { log }))
    stop_one()
    programs.stop_all()
  end))
end)

describe("systemd", function()
  it("is told of readiness and hands its sockets over", helpers.task(function()
    local said = programs.output("/usr/bin/python3", { "-c", [[
import os, socket, subprocess, sys, tempfile
folder = tempfile.mkdtemp()
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(folder + "/notify")
notify.settimeout(20)
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
def inherit():
    os.dup2(server.fileno(), 3)
    os.environ["LISTEN_FDS"] = "1"
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["NOTIFY_SOCKET"] = folder + "/notify"
pid = os.fork()
if pid == 0:
    inherit()
    os.closerange(4, 256)
    os.execv(sys.argv[1], [sys.argv[1], "--workers", "2", "--drain", "0s", "-L", "http://127.0.0.1:%d" % port])
print(notify.recv(1000).decode())
with socket.create_connection(("127.0.0.1", port), 10) as client:
    client.sendall(b"GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n")
    print(client.recv(1000).split(b"\r\n")[0].decode())
os.kill(pid, 15)
print(notify.recv(1000).decode())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
]], proxy.executable }, { seconds = 30 })
    assert.equal("READY=1\nHTTP/1.1 400 Bad Request\nSTOPPING=1\n0\n", said)
  end))
end)

describe("bad input at start", function()
  local CASES = {
    { "a port in use", { "-L", "http://127.0.0.1:%d" }, "in use" },
    { "a missing file", { "-C", "/nonexistent/file.yml" }, "/nonexistent/file%.yml" },
    { "an unknown flag", { "-X" }, "%-X" },
    { "a missing certificate",
      { "-L", "http+tls://127.0.0.1:0?cert=/nonexistent.pem&key=/nonexistent.key" }, "/nonexistent" },
    { "an address that cannot be had", { "-L", "http://192.0.2.77:8080" }, "192%.0%.2%.77" },
  }
  for _, case in ipairs(CASES) do
    it("names " .. case[1] .. " and exits with 2", helpers.task(function()
      local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
      local args = {}
      for i, arg in ipairs(case[2]) do
        args[i] = arg:find "%%d" and arg:format(listener.address(fds[1]):match ":(%d+)$") or arg
      end
      local result = proxy.run(args)
      assert.equal(2, result.code, result.stderr)
      assert.matches(case[3], result.stderr)
      listener.close_fd(fds[1])
    end))
  end
end)
