-- Standard input and output as a listener: as OpenSSH's ProxyCommand, in pipes, from files, started by socat.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local ssh = require "spec.helpers.ssh"
local stream = require "tidegate.native.stream"

-- A shell with $T as the executable under test.
local function shell(script, ...)
  return programs.run("sh", { "-c", script, "sh", ... }, { seconds = 60, env = { T = proxy.executable } })
end

describe("stdio", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("is a ProxyCommand of ssh, through a chain", helpers.task(function()
    local keys = ssh.keys()
    local port = ssh.server(keys)
    local far = proxy.start { "-L", "socks5+tls://127.0.0.1:0" }
    local command = ("ProxyCommand=%s -L stdio://%%h:%%p -F socks5+tls://127.0.0.1:%d"):format(
      proxy.executable, far:port(1))
    local user = assert(os.getenv "USER" or programs.output("id", { "-un" }):match "%S+")
    local done = programs.run("ssh", ssh.args(port, {
      key = keys .. "/user", user = user .. "@127.0.0.1", "-o", command, "head -c 3000000 /dev/zero; cat",
    }), { seconds = 40, stdin = "from here" })
    assert.equal(0, done.code, done.stderr)
    assert.is_true(done.stdout == ("\0"):rep(3000000) .. "from here")
    far:logged("<-> 127.0.0.1:" .. port, true)
  end))

  it("carries pipes, and ends with the other end", helpers.task(function()
    local address, stop = server.echo()
    local done = shell("head -c 5000000 /dev/zero | $T -L stdio://$1 2>$2 | md5sum; tail -n1 $2", address,
      programs.folder() .. "/log")
    assert.equal(programs.output("sh", { "-c", "head -c 5000000 /dev/zero | md5sum" }):match "%x+",
      done.stdout:match "^%x+")
    assert.matches('"inputBytes":5000000,"outputBytes":5000000', done.stdout)
    stop()
  end))

  it("carries files, from where they stand", helpers.task(function()
    local address, stop = server.echo()
    local folder = programs.folder()
    programs.file(folder, "in", ("skipped\n" .. ("line\n"):rep(1000)))
    local done = shell("(read -r first; $T -L stdio://$1 2>/dev/null) <$2/in >$2/out; echo $?", address, folder)
    assert.equal("0\n", done.stdout)
    local file = assert(io.open(folder .. "/out"))
    assert.equal(5000, #file:read "*a")
    file:close()
    stop()
  end))

  it("carries sockets: whoever connects to socat has a proxy", helpers.task(function()
    local address, stop = server.echo()
    local port = programs.free_port()
    programs.start("socat", {
      ("TCP4-LISTEN:%d,bind=127.0.0.1,fork,reuseaddr"):format(port),
      "EXEC:" .. proxy.executable .. " -L socks5+stdio\\://",
    }, { port = port })
    local s = assert(stream.dial("127.0.0.1:" .. port))
    s:write "\5\1\0"
    assert.equal("\5\0", s:read_exact(2))
    local target = tonumber(address:match ":(%d+)$")
    s:write("\5\1\0\1\127\0\0\1", string.char(math.floor(target / 256), target % 256))
    assert.equal("\5\0", s:read_exact(10):sub(1, 2))
    s:write "hello"
    assert.equal("hello", s:read_exact(5))
    s:close()
    stop()
  end))

  it("survives a reload", helpers.task(function()
    local address, stop = server.echo()
    local folder = programs.folder()
    local done = shell([[printf "scripts: [$2/s.lua]\n" >$2/c.yml
      printf 'services: [{name: s, addr: "", listener: {type: stdio}, handler: {type: tcp},' >>$2/c.yml
      printf 'forwarder: {nodes: [{name: t, addr: "%s"}]}}]\n' $1 >>$2/c.yml
      echo >$2/s.lua
      wait_for() { until grep -q "$1" "$2"; do sleep 0.05; done; }
      touch $2/out $2/log
      (echo before; wait_for before $2/out; kill -HUP $(cat $2/pid); wait_for reloaded $2/log; echo after) |
        sh -c 'echo $$ >$0/pid; exec $T -C $0/c.yml' $2 >$2/out 2>$2/log
      echo $?; cat $2/out]], address, folder)
    assert.equal("0\nbefore\nafter\n", done.stdout)
    stop()
  end))

  it("ends with 1 when the target cannot be reached, and says why", helpers.task(function()
    local done = shell("echo | $T -L stdio://127.0.0.1:1; echo $?")
    assert.equal("1\n", done.stdout)
    assert.matches("target%-0 127.0.0.1:1: tcp connect: Connection refused", done.stderr)
  end))

  it("says when there is nothing to carry", helpers.task(function()
    local address, stop = server.echo()
    assert.equal("0\n", shell("$T -L stdio://$1 <&- 2>/dev/null; echo $?", address).stdout)
    stop()
    local done = shell("$T -L stdio://127.0.0.1:1 -L stdio://127.0.0.1:1 </dev/null; echo $?")
    assert.matches("another service's", done.stderr, 1, true)
  end))
end)
