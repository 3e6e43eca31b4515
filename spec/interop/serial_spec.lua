-- Serial ports over pairs of pseudo terminals made by socat.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

-- Two ends of a line.  @return the folder where they are `a` and `b`
local function line()
  local folder = programs.folder()
  programs.start("socat", {
    ("pty,raw,echo=0,link=%s/a"):format(folder), ("pty,raw,echo=0,link=%s/b"):format(folder),
  })
  helpers.eventually(function()
    return uv.fs_stat(folder .. "/a") and uv.fs_stat(folder .. "/b")
  end)
  return folder
end

-- What one says at one end of a tunnel comes back from the other.
local function echoes(where, text)
  local s = assert(stream.dial(where))
  s:set_deadline(task.now() + 10000)
  s:write(text)
  local back = s:read_exact(#text)
  s:close()
  return back == text
end

-- The same as soon as the port is free.
local function echoes_soon(where, text)
  helpers.eventually(function()
    local s = assert(stream.dial(where))
    s:set_deadline(task.now() + 2000)
    s:write(text)
    local back = s:read_exact(#text)
    s:close()
    return back == text
  end, "no echo", 15)
end

describe("serial", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("leads from TCP to a port, and from a port to TCP", helpers.task(function()
    local address, stop = server.echo()
    local ends = line()
    local far = proxy.start { "-L", ("serial://%s/b,115200,even"):format(ends), "-F", "tcp://" .. address }
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/:0", "-F", ("serial://%s/a,115200,even"):format(ends) }
    local where = "127.0.0.1:" .. near:port(1)
    assert.is_true(echoes(where, "hello"))
    near:logged(">-<", true)
    echoes_soon(where, ("x"):rep(100000))
    far:logged(ends .. "/b,115200,even", true)
    proxy.stop_all() -- lines do not end by themselves
    stop()
  end))

  it("is one connection's at a time, and free again after it", helpers.task(function()
    local address, stop = server.echo()
    local ends = line()
    proxy.start { "-L", ("serial://%s/b"):format(ends), "-F", "tcp://" .. address }
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/:0", "-F", ("serial://%s/a"):format(ends) }
    local where = "127.0.0.1:" .. near:port(1)
    local first = assert(stream.dial(where))
    first:write "1"
    assert.equal("1", first:read_exact(1))
    local second = assert(stream.dial(where))
    assert.is_nil((second:read()))
    second:close()
    near:logged("another connection or program uses the device", true)
    first:write "2"
    assert.equal("2", first:read_exact(1))
    first:close()
    echoes_soon(where, "3")
    proxy.stop_all() -- lines do not end by themselves
    stop()
  end))

  it("answers a client that has finished sending", helpers.task(function()
    local ends = line()
    local address, stop = server.accept(function(s)
      assert.equal("AT\r", s:read_exact(3))
      task.sleep(0.3)
      s:write "OK\r"
      s:read()
      s:close()
    end)
    proxy.start { "-L", ("serial://%s/b"):format(ends), "-F", "tcp://" .. address }
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/:0", "-F", ("serial://%s/a"):format(ends) }
    local s = assert(stream.dial("127.0.0.1:" .. near:port(1)))
    s:write "AT\r"
    s:shutdown()
    assert.equal("OK\r", s:read_exact(3))
    local _, err = s:read()
    assert.equal("eof", err.code)
    s:close()
    proxy.stop_all()
    stop()
  end))

  it("joins two ports, here and through a relay", helpers.task(function()
    local left, right, folder = line(), line(), programs.folder()
    local far = proxy.start { "-L", "relay+tls://127.0.0.1:0" }
    local function config(name, way)
      return programs.file(folder, name, ([[
services:
- name: line
  addr: %s/b,19200,odd
  listener: {type: serial}
  handler: {type: serial%s}
  forwarder: {nodes: [{name: other, addr: "%s/b"}]}
]]):format(left, way and ", chain: c" or "", right) .. (way and ([[
chains:
- name: c
  hops: [{name: h, nodes: [{name: n, addr: "127.0.0.1:%d", connector: {type: relay}, dialer: {type: tls}}]}]
]]):format(far:port(1)) or ""))
    end
    for _, way in ipairs { false, true } do
      local p = proxy.start({ "-C", config("c.yml", way) }, { services = 1 })
      p:logged("<-> " .. right .. "/b,19200,odd", true)
      local done = programs.run("sh", { "-c", [[
        (head -c 20000 /dev/zero; sleep 0.5) | socat -u - "$1/a,raw,echo=0" &
        timeout 5 head -c 20000 "$2/a" | md5sum
        wait]], "sh", left, right }, { seconds = 40 })
      assert.equal(programs.output("sh", { "-c", "head -c 20000 /dev/zero | md5sum" }), done.stdout)
      assert.equal(0, select(1, p:stop()))
    end
    far:logged("<-> " .. right .. "/b,19200,odd", true)
  end))

  it("comes back when the device does", helpers.task(function()
    local address, stop = server.echo()
    local folder = programs.folder()
    local p = proxy.start { "-L", ("serial://%s/b"):format(folder), "-F", "tcp://" .. address }
    p:logged("there is no such device; is it plugged in?", true)
    local args = { ("pty,raw,echo=0,link=%s/b"):format(folder),
      ("SYSTEM:printf hello; head -c 5 >%s/got"):format(folder) }
    for _ = 1, 2 do
      programs.run("socat", args, { seconds = 40 })
      local file = assert(io.open(folder .. "/got"))
      assert.equal("hello", file:read "*a")
      file:close()
      os.remove(folder .. "/got")
    end
    proxy.stop_all() -- lines do not end by themselves
    stop()
  end))

  it("goes elsewhere after a reload", helpers.task(function()
    local one, stop_one = server.echo "one"
    local two, stop_two = server.echo "two"
    local ends, folder = line(), programs.folder()
    local function config(address)
      return programs.file(folder, "c.yml", ([[
services:
- name: line
  addr: %s/b
  listener: {type: serial}
  handler: {type: serial, chain: c}
chains:
- name: c
  hops: [{name: h, nodes: [{name: n, addr: "%s", connector: {type: tcp}, dialer: {type: tcp}}]}]
]]):format(ends, address))
    end
    local p = proxy.start({ "-C", config(one) }, { services = 1 })
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/:0", "-F", ("serial://%s/a"):format(ends) }
    local s = assert(stream.dial("127.0.0.1:" .. near:port(1)))
    s:set_deadline(task.now() + 10000)
    assert.equal("one", s:read_exact(3))
    config(two)
    p:kill "sighup"
    assert.equal("two", s:read_exact(3))
    s:close()
    assert.equal(0, (p:stop()))
    proxy.stop_all()
    stop_one()
    stop_two()
  end))

  it("ends a silent line", helpers.task(function()
    local address, stop = server.echo()
    local ends = line()
    local p = proxy.start { "-L", ("serial://%s/b?listener.timeout=300ms"):format(ends), "-F", "tcp://" .. address }
    p:logged(">< " .. ends .. "/b", true)
    proxy.stop_all() -- lines do not end by themselves
    stop()
  end))

  it("records what passes", helpers.task(function()
    local address, stop = server.echo()
    local ends, folder = line(), programs.folder()
    local p = proxy.start({ "-C", programs.file(folder, "c.yml", ([[
services:
- name: line
  addr: %s/b
  listener: {type: serial}
  handler: {type: serial, chain: c}
  recorders:
  - {name: r, record: recorder.service.handler.serial, metadata: {direction: true, hexdump: true}}
chains:
- name: c
  hops: [{name: h, nodes: [{name: n, addr: "%s", connector: {type: tcp}, dialer: {type: tcp}}]}]
recorders:
- {name: r, file: {path: "%s/record"}}
]]):format(ends, address, folder)) }, { services = 1 })
    p:logged("<-> @:0", true)
    local near = proxy.start { "-L", "tcp://127.0.0.1:0/:0", "-F", ("serial://%s/a"):format(ends) }
    assert.is_true(echoes("127.0.0.1:" .. near:port(1), "hello"))
    local dump = "00000000  68 65 6c 6c 6f                                    |hello|\n"
    helpers.eventually(function()
      local file = io.open(folder .. "/record")
      local text = file and file:read "*a"
      return text == ">\n" .. dump .. "<\n" .. dump
    end)
    assert.equal(0, (p:stop()))
    proxy.stop_all() -- lines do not end by themselves
    stop()
  end))

  it("says what is wrong", helpers.task(function()
    for address, message in pairs {
      ["/dev/x,fast"] = '"fast" is no baud rate', ["/dev/x,9600,both"] = '"both" is no parity',
      [",9600"] = "no device is named",
    } do
      local done = proxy.run { "-L", ("serial://%s"):format(address), "-F", "tcp://127.0.0.1:1" }
      assert.equal(2, done.code)
      assert.matches(message, done.stderr, 1, true)
    end
    local done = proxy.run { "-L", "serial:///dev/ttyS9" }
    assert.matches("needs a target (serial://A/B) or a chain (-F)", done.stderr, 1, true)
    for device, message in pairs {
      ["/dev/null"] = "not a serial port", ["/etc/passwd"] = "not a serial port",
      ["/dev/tidegate-none"] = "no such device",
    } do
      local p = proxy.start { "-L", "tcp://127.0.0.1:0/:0", "-F", "serial://" .. device }
      assert.is_nil((assert(stream.dial("127.0.0.1:" .. p:port(1))):read()))
      p:logged(message, true)
      p:stop()
    end
  end))
end)
