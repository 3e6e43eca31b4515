-- A whole tidegate that serves TLS: clients that misbehave leave nothing behind, several certificates.

local fixture = require "spec.helpers.tls"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "tidegate.native.tls"

-- A ClientHello as a real client makes it
local function client_hello(context)
  local a, b = stream.pair()
  local ended = helpers.spawn(tls.client, b, context, "localhost", task.now() + 10000)
  local hello = a:read()
  a:close()
  ended()
  return hello
end

local function dial(address)
  return assert(stream.dial(address, nil, task.now() + 20000))
end

-- What bad clients do, each with a fresh connection
local function mischief(context)
  local hello = client_hello(context)
  return {
    function() end,
    function(s, i)
      s:write(hello:sub(1, i * 37 % #hello))
    end,
    function(s)
      s:write(hello)
    end,
    function(s)
      s:write "GET / HTTP/1.1\r\n\r\n"
      s:read()
    end,
    function(s, i)
      local at = i * 31 % #hello + 1
      local broken = string.char((hello:byte(at) + 1) % 256)
      s:write(hello:sub(1, at - 1) .. broken .. hello:sub(at + 1))
      s:set_deadline(task.now() + 100)
      s:read()
    end,
    function(s)
      local t = assert(tls.client(s, context, "localhost", task.now() + 20000))
      t:write "CONNECT 127.0.0.1:1 HTTP/1.1\r\n"
      t:close()
    end,
  }
end

describe("tls service", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("outlives clients that misbehave", helpers.task(function()
    local own = fixture.self_signed()
    local p = proxy.start { "-L", ("http+tls://127.0.0.1:0?certFile=%s&keyFile=%s"):format(
      fixture.write("own.pem", own.cert), fixture.write("own.key", own.key)) }
    local deeds = mischief(fixture.client_context())
    local function misbehave(count)
      for i = 1, count do
        local s = dial(p:address(1))
        deeds[i % #deeds + 1](s, i)
        s:close()
      end
    end
    misbehave(12)
    helpers.eventually(function()
      return p:descriptors() < 60
    end)
    local before = p:descriptors()
    local jobs = {}
    for i = 1, 4 do
      jobs[i] = helpers.spawn(misbehave, 90)
    end
    for _, job in ipairs(jobs) do
      job()
    end
    helpers.eventually(function()
      return p:descriptors() <= before
    end, "descriptors are left over")
    local web = origin.nginx()
    assert.equal("HTTP/1.1 127.0.0.1\n", programs.output("curl", { "-sS", "--noproxy", "",
      "--proxy-insecure", "-x", "https://" .. p:address(1),
      ("http://127.0.0.1:%d/whoami"):format(web.http) }))
  end))

  it("has a certificate for each name", helpers.task(function()
    local authority = fixture.authority "several"
    local one = fixture.certificate(authority, "one.test")
    local two = fixture.certificate(authority, "two", { san = "DNS:*.two.test" })
    local p = proxy.start { "-L", ("http+tls://127.0.0.1:0?certFile=%s,%s&keyFile=%s,%s"):format(
      one.cert, two.cert, one.key, two.key) }
    local context = fixture.client_context { verify = "full", ca = authority.cert }
    for name, cn in pairs { ["one.test"] = "one.test", ["x.two.test"] = "two" } do
      local s = assert(tls.client(dial(p:address(1)), context, name, task.now() + 20000))
      assert.equal(cn, tls.info(s).peer_cn)
      s:close()
    end
    local s, err = tls.client(dial(p:address(1)), context, "three.test", task.now() + 20000)
    assert.is_nil(s)
    assert.matches("hostname mismatch", tostring(err))
  end))

  it("generates a certificate when it has none", helpers.task(function()
    local home = programs.folder()
    local p = proxy.start({ "-L", "http+tls://127.0.0.1:0" }, { env = { HOME = home }, cwd = home })
    local s = assert(tls.client(dial(p:address(1)), fixture.client_context(), "x.test"))
    assert.equal("gost.run", tls.info(s).peer_cn)
    local fingerprint = tls.info(s).peer_fingerprint
    s:close()
    p:stop()
    p = proxy.start({ "-L", "http+tls://127.0.0.1:0" }, { env = { HOME = home }, cwd = home })
    s = assert(tls.client(dial(p:address(1)), fixture.client_context(), "y.test"))
    assert.equal(fingerprint, tls.info(s).peer_fingerprint)
    s:close()
  end))
end)
