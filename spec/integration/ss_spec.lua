-- Shadowsocks between whole proxies: what operators are told, what strangers learn, users, datagrams.

local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local ss = require "tidegate.native.ss"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local SERVER, ALICE = "AAECAwQFBgcICQoLDA0ODw==", "ICEiIyQlJicoKSorLC0uLw=="

local function escaped(text)
  return (text:gsub("[+/=]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

local function dial(port)
  local s = assert(stream.dial("127.0.0.1:" .. port, nil, task.now() + 20000))
  s:set_deadline(task.now() + 20000)
  return s
end

local function config(text)
  return programs.file(programs.folder(), "t.yml", text)
end

describe("shadowsocks", function()
  local stop

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    if stop then
      stop()
      stop = nil
    end
  end))

  it("tells a client's wrong password in one line, and answers nothing", helpers.task(function()
    local p = proxy.start { "-L", "ss://aes-256-gcm:right@127.0.0.1:0?readTimeout=1s" }
    local began = task.now()
    local s = ss.client(dial(p:port(1)), ss.key("aes-256-gcm", "wrong"), "192.0.2.1:80")
    s:write(("x"):rep(1000))
    local bytes, err = s:read()
    assert.is_nil(bytes)
    assert.equal("eof", err.code)
    s:close()
    local garbage = dial(p:port(1))
    garbage:write "short" -- waits as long as what was long enough to be found wrong
    bytes = garbage:read()
    assert.is_nil(bytes)
    assert.is_true(task.now() - began >= 1900)
    garbage:close()
    p:logged("the client has another password or method", true)
    local _, lines = p:log():gsub('"level":"warn"', "")
    assert.equal(1, lines)
  end))

  it("serves no replay", helpers.task(function()
    local where
    where, stop = server.echo()
    local p = proxy.start { "-L", "ss://chacha20-ietf-poly1305:secret@127.0.0.1:0?readTimeout=500ms" }
    local a, b = stream.pair()
    local c = ss.client(a, ss.key("chacha20-ietf-poly1305", "secret"), where)
    c:write "hello"
    local request = b:read()
    local first = dial(p:port(1))
    first:write(request)
    assert.is_truthy(first:read())
    first:close()
    for _ = 1, 4 do -- whichever worker gets it
      local again = dial(p:port(1))
      again:write(request)
      assert.is_nil((again:read()))
      again:close()
    end
    p:logged("a replay", true)
    c:close()
    b:close()
  end))

  it("knows its users", helpers.task(function()
    local web = origin.nginx()
    local p = proxy.start({ "-C", config(([[
services:
- name: far
  addr: 127.0.0.1:0
  handler:
    type: ss
    auth: { username: 2022-blake3-aes-128-gcm, password: %s }
    metadata: { users: { alice: %s } }
]]):format(SERVER, ALICE)) }, { services = 1 })
    local near = proxy.start { "-L", "http://127.0.0.1:0", "-F", ("ss://2022-blake3-aes-128-gcm:%s@127.0.0.1:%d")
      :format(escaped(SERVER .. ":" .. ALICE), p:port(1)) }
    assert.equal("HTTP/1.1 127.0.0.1\n", origin.curl { "-x", "http://127.0.0.1:" .. near:port(1),
      ("http://127.0.0.1:%d/whoami"):format(web.http) })
    p:logged('"clientID":"alice"', true)
  end))

  it("reads method and password from a file", helpers.task(function()
    local where
    where, stop = server.echo "220 ready"
    local file = programs.file(programs.folder(), "auth", "# ours\naes-128-gcm  se cret\n")
    local p = proxy.start({ "-C", config(([[
services:
- name: far
  addr: 127.0.0.1:0
  handler: { type: ss, auth: { file: %s } }
]]):format(file)) }, { services = 1 })
    local s = ss.client(dial(p:port(1)), ss.key("aes-128-gcm", "se cret"), where)
    assert.equal("220 ready", s:read_exact(9))
    s:close()
  end))

  it("refuses a configuration that cannot work, and says what to write", helpers.task(function()
    local function complaint(url)
      local run = proxy.run { "-L", url }
      assert.not_equal(0, run.code)
      return run.stdout .. run.stderr
    end
    local text = complaint "ss://aes256gcm:x@127.0.0.1:0"
    assert.matches("is it aes-256-gcm?", text, 1, true)
    assert.matches("chacha20-ietf-poly1305, ", text, 1, true)
    assert.matches("auth is required", complaint "ssu://127.0.0.1:0", 1, true)
    assert.matches("it must have 32", complaint "ss://2022-blake3-aes-256-gcm:AAEC@127.0.0.1:0", 1, true)
    local near = proxy.run { "-L", "http://127.0.0.1:0", "-F", "ss://nope:x@127.0.0.1:1" }
    assert.matches('unknown method "nope"', near.stdout .. near.stderr, 1, true)
  end))

  it("warns of methods that are not safe", helpers.task(function()
    local p = proxy.start { "-L", "ss://aes-256-cfb:x@127.0.0.1:0", "-L", "ssu://none:x@127.0.0.1:0" }
    p:logged("the method aes-256-cfb does not notice forged data", true)
    p:logged("the method none does not encrypt", true)
  end))

  for _, carrier in ipairs { "", "+tls" } do
    it("carries datagrams: ssu" .. carrier, helpers.task(function()
      local origin_socket = packet.udp { at = "127.0.0.1:0" }
      local target = origin_socket:local_address()
      local echo = helpers.spawn(function()
        for _ = 1, 20 do
          local bytes, from = origin_socket:recv()
          origin_socket:send(">" .. bytes, from)
        end
      end)
      local far = proxy.start { "-L", ("ssu%s://aes-256-gcm:x@127.0.0.1:0"):format(carrier) }
      local near = proxy.start { "-L", ("udp://127.0.0.1:0/%s?keepalive=true"):format(target),
        "-F", ("ssu%s://aes-256-gcm:x@127.0.0.1:%d"):format(carrier, far:port(1)) }
      local c = packet.udp { connect = near:address(1) }
      for i = 1, 20 do
        local data = ("%d"):format(i):rep(i * 30)
        c:send(data)
        assert.equal(">" .. data, (c:recv()))
      end
      c:close()
      echo()
      origin_socket:close()
    end))
  end
end)
