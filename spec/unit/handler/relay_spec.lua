local connection = require "spec.helpers.connection"
local helpers = require "spec.helpers"
local session = require "tidegate.native.session"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

-- The specification's example: user and password, example.com:443.
local REQUEST = "\1\1\0\31\1\0\10\4user\4pass\2\0\15\3\11example.com\1\187"

describe("handler relay", function()
  it("relays after a request and answers at once", helpers.task(function()
    local client, ctx, result = connection.serve("relay", nil, connection.ctx { users = { user = "pass" } })
    client:write(REQUEST)
    assert.equal("\1\0\0\0", client:read_exact(4))
    assert.same({ "tcp", "example.com:443", "user" }, { ctx.network, ctx.target, ctx.user })
    assert.is_true(result())
    client:write "hello"
    assert.equal("hello", ctx.far:read_exact(5))
    client:close()
    ctx.far:close()
  end))

  it("takes input that comes one byte at a time, and what follows", helpers.task(function()
    local client, ctx, result = connection.serve "relay"
    for byte in (REQUEST .. "more"):gmatch "." do
      client:write(byte)
      helpers.pass()
    end
    assert.is_true(result())
    assert.equal("more", ctx.far:read_exact(4))
    ctx.far:write "answer"
    assert.equal("\1\0\0\0answer", client:read_exact(10))
    client:close()
    ctx.far:close()
  end))

  it("says nothing before the target does to who waits for nothing", helpers.task(function()
    local client, ctx, result = connection.serve "relay"
    client:write(REQUEST, "upload")
    assert.is_true(result())
    assert.equal("upload", ctx.far:read_exact(6))
    client:set_deadline(task.now() + 20)
    assert.is_nil((client:read()))
    client:set_deadline(task.now() + 10000)
    ctx.far:shutdown()
    assert.equal("\1\0\0\0", client:read_exact(4))
    assert.is_nil((client:read()))
    client:close()
    ctx.far:close()
  end))

  it("hands over what a client said that has left meanwhile", helpers.task(function()
    local a, b = stream.pair()
    local near, far = session.smux(a, { client = true, keepalive = 0 }), session.smux(b, { keepalive = 0 })
    local client = near:open()
    client:write(REQUEST)
    local server, ctx = far:accept(), connection.ctx()
    function ctx:connect(...)
      client:write "last words"
      client:close()
      task.sleep(0.01)
      return getmetatable(self).__index.connect(self, ...)
    end
    assert.is_true(connection.instance("handler", "relay"):handle(ctx, server))
    assert.equal("last words", ctx.far:read_exact(10))
    assert.is_nil((ctx.far:read()))
    near:close()
    far:close()
  end))

  local cases = {
    ["unknown features"] = { "\1\0\0\15\9\0\2xx\2\0\7\1\1\2\3\4\0\80", "tcp", "1.2.3.4:80" },
    ["the network unix"] = { "\1\1\0\23\4\0\2\0\16\2\0\15\3\11/run/a.sock\0\0", "unix", "/run/a.sock" },
    ["an unknown network"] = { "\1\1\0\15\4\0\2\0\9\2\0\7\1\1\2\3\4\0\80", "tcp", "1.2.3.4:80" },
  }
  for what, case in pairs(cases) do
    it("understands " .. what, helpers.task(function()
      local client, ctx, result = connection.serve "relay"
      client:write(case[1])
      assert.equal("\1\0\0\0", client:read_exact(4))
      assert.same({ case[2], case[3] }, { ctx.network, ctx.target })
      assert.is_true(result())
      client:close()
      ctx.far:close()
    end))
  end

  local refusals = {
    { "\1\1\0\0", 1, "protocol" },
    { "\1\7\0\10\2\0\7\1\1\2\3\4\0\80", 1, "unsupported" },
    { REQUEST, 2, "auth", { users = { user = "other" } } },
    { REQUEST, 3, "blocked", { fails = "blocked" } },
    { REQUEST, 7, "refused", { fails = "refused" } },
    { "\1\2\0\15\4\0\2\0\0\2\0\7\1\0\0\0\0\31\64", 3, "blocked" },
  }
  for _, case in ipairs(refusals) do
    it(("answers %d to %s"):format(case[2], case[3]), helpers.task(function()
      local client, _, result = connection.serve("relay", nil, connection.ctx(case[4]))
      client:write(case[1])
      assert.equal("\1" .. string.char(case[2]) .. "\0\0", client:read_exact(4))
      assert.equal(case[3], select(2, result()).code)
      client:close()
    end))
  end

  it("closes at cuts, silence and garbage", helpers.task(function()
    for cut = 1, #REQUEST - 1 do
      local client, _, result = connection.serve "relay"
      client:write(REQUEST:sub(1, cut))
      client:shutdown()
      assert.equal("eof", select(2, result()).code)
      client:close()
    end
    for said, code in pairs {
      ["\5\1"] = "protocol",
      ["\1\1\0\2\1\0"] = "protocol",
      ["\1\1\0\4\1\0\9x"] = "protocol",
      ["\1\1\0\5\2\0\2\1\2"] = "protocol",
      ["\1\1"] = "timeout",
    } do
      local client, _, result = connection.serve("relay", { readTimeout = "20ms" })
      client:write(said)
      assert.equal(code, select(2, result()).code)
      client:close()
    end
  end))
end)

describe("connector relay", function()
  local AUTH = { auth = { username = "user", password = "pass" } }

  it("does not wait for the response", helpers.task(function()
    local server, result = connection.connect("relay", {}, AUTH, "tcp", "example.com:443")
    assert.equal(REQUEST, server:read_exact(#REQUEST))
    local top = assert(result())
    top:write "early"
    assert.equal("early", server:read_exact(5))
    for byte in ("\1\0\0\3\9\0\0answer"):gmatch "." do
      server:write(byte)
      helpers.pass()
    end
    assert.equal("answer", top:read_exact(6))
    server:shutdown()
    assert.equal("eof", select(2, top:read()).code)
    top:close()
    server:close()
  end))

  it("fails the stream when the server refuses", helpers.task(function()
    for status, code in pairs {
      [1] = "protocol", [2] = "auth", [3] = "blocked", [6] = "unreachable", [99] = "protocol",
    } do
      local server, result = connection.connect("relay", {}, nil, "tcp", "example.com:443")
      server:write("\1" .. string.char(status) .. "\0\0")
      local top = assert(result())
      local _, err = top:read()
      assert.equal(code, err.code)
      assert.equal("relay", err.layer)
      top:close()
      server:close()
    end
    local server, result = connection.connect("relay", {}, nil, "tcp", "example.com:443")
    server:write "\1\0"
    server:shutdown()
    local _, err = assert(result()):read()
    assert.equal("protocol", err.code)
    assert.matches("hung up without an answer", err.message)
    server:close()
  end))

  it("waits with nodelay", helpers.task(function()
    local server, result = connection.connect("relay", { nodelay = true }, AUTH, "tcp", "example.com:443")
    server:write "\1\0\0\0surplus"
    assert.equal("surplus", assert(result()):read())
    server:close()
    server, result = connection.connect("relay", { nodelay = true }, AUTH, "tcp", "example.com:443")
    server:write "\1\5\0\0"
    assert.equal("refused", select(2, result()).code)
    server:close()
    server, result = connection.connect("relay", { nodelay = true, connectTimeout = "20ms" }, nil, "tcp", "h:1")
    assert.equal("timeout", select(2, result()).code)
    server:close()
  end))

  it("says what it asks for", helpers.task(function()
    for _, case in ipairs {
      { "unix", "/run/a.sock", "\1\1\0\23\4\0\2\0\16\2\0\15\3\11/run/a.sock\0\0" },
      { "udp", "8.8.8.8:53", "\1\129\0\15\4\0\2\0\1\2\0\7\1\8\8\8\8\0\53" },
    } do
      local server, result = connection.connect("relay", {}, nil, case[1], case[2])
      assert.equal(case[3], server:read_exact(#case[3]))
      assert(result()):close()
      server:close()
    end
  end))
end)
