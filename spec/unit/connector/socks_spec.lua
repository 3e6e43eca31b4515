local connection = require "spec.helpers.connection"
local helpers = require "spec.helpers"

local AUTH = { auth = { username = "u", password = "p" } }
local REPLY = "\5\0\0\1\127\0\0\1\0\80"

describe("connector socks5", function()
  it("offers what gost offers", helpers.task(function()
    for _, case in ipairs {
      { md = {}, greeting = "\5\2\0\128" },
      { md = {}, fields = AUTH, greeting = "\5\4\0\2\128\130" },
      { md = { notls = true }, greeting = "\5\1\0" },
    } do
      local server, result = connection.connect("socks5", case.md, case.fields, "tcp", "example.com:80")
      assert.equal(case.greeting, server:read_exact(#case.greeting))
      server:close()
      assert.is_nil((result()))
    end
  end))

  it("connects, and keeps what comes with the reply", helpers.task(function()
    local server, result = connection.connect("socks5", { notls = true }, nil, "tcp", "example.com:80")
    server:read_exact(3)
    server:write "\5\0"
    assert.equal("\5\1\0\3\11example.com\0\80", server:read_exact(18))
    server:write(REPLY, "banner")
    local top = assert(result())
    assert.equal("banner", top:read())
    top:write "hello"
    assert.equal("hello", server:read())
    top:close()
    server:close()
  end))

  it("authenticates", helpers.task(function()
    local server, result = connection.connect("socks5", { notls = true }, AUTH, "tcp", "127.0.0.1:80")
    assert.equal("\5\2\0\2", server:read_exact(4))
    server:write "\5\2"
    assert.equal("\1\1u\1p", server:read_exact(5))
    server:write "\1\0"
    assert.equal("\5\1\0\1\127\0\0\1\0\80", server:read_exact(10))
    for byte in REPLY:gmatch "." do
      server:write(byte)
      helpers.pass()
    end
    assert(result()):close()
    server:close()
  end))

  it("tells refusals apart", helpers.task(function()
    for status, code in pairs {
      [1] = "unreachable", [2] = "blocked", [5] = "refused", [7] = "unsupported", [77] = "protocol",
    } do
      local server, result = connection.connect("socks5", { notls = true }, nil, "tcp", "h:1")
      server:write("\5\0\5" .. string.char(status) .. "\0\1\0\0\0\0\0\0")
      local top, err = result()
      assert.is_nil(top)
      assert.equal(code, err.code)
      server:close()
    end
    for answer, code in pairs { ["\5\255"] = "auth", ["\5\2"] = "protocol", ["\4\0"] = "protocol", ["\5"] = "eof" } do
      local server, result = connection.connect("socks5", { notls = true }, nil, "tcp", "h:1")
      server:write(answer)
      server:shutdown()
      assert.equal(code, select(2, result()).code)
      server:close()
    end
  end))

  it("waits no longer than its timeout", helpers.task(function()
    for _, said in ipairs { "", "\5", "\5\0", "\5\0\5\0\0\3" } do
      local server, result = connection.connect("socks5", { notls = true, timeout = "20ms" }, nil, "tcp", "h:1")
      server:write(said)
      assert.equal("timeout", select(2, result()).code)
      server:close()
    end
  end))

  it("speaks TLS inside with its own server", helpers.task(function()
    local client, ctx, served = connection.serve("socks5", {}, connection.ctx { users = { u = "p" } })
    local connector = connection.instance("connector", "socks5", {}, AUTH)
    local cctx = connection.ctx()
    local top = assert(connector:handshake(cctx, client))
    assert.equal("tls", top:layer())
    assert(connector:connect(cctx, top, "tcp", "example.com:80"))
    assert.is_true(served())
    top:write "secret"
    assert.equal("secret", ctx.far:read_exact(6))
    top:close()
    ctx.far:close()
  end))
end)

describe("connector socks4", function()
  it("sends names in the form of SOCKS4a", helpers.task(function()
    local server, result = connection.connect("socks4", {}, { auth = { username = "user" } }, "tcp", "example.com:443")
    assert.equal("\4\1\1\187\0\0\0\1user\0example.com\0", server:read_exact(25))
    server:write "\0\90\1\2\3\4\5\6surplus"
    local top = assert(result())
    assert.equal("surplus", top:read())
    top:close()
    server:close()
  end))

  it("sends IP literals as names too, unless told not to", helpers.task(function()
    local server, result = connection.connect("socks4", {}, nil, "tcp", "127.0.0.1:80")
    assert.equal("\4\1\0\80\0\0\0\1\000127.0.0.1\0", server:read_exact(19))
    server:close()
    result()
    server, result = connection.connect("socks4", { disable4a = true }, nil, "tcp", "127.0.0.1:80")
    assert.equal("\4\1\0\80\127\0\0\1\0", server:read_exact(9))
    server:close()
    result()
  end))

  it("tells refusals apart", helpers.task(function()
    for status, code in pairs { [91] = "unreachable", [92] = "blocked", [93] = "auth", [1] = "protocol" } do
      local server, result = connection.connect("socks4", {}, nil, "tcp", "h:1")
      server:write("\0" .. string.char(status) .. "\0\0\0\0\0\0")
      assert.equal(code, select(2, result()).code)
      server:close()
    end
    local server, result = connection.connect("socks4", { timeout = "20ms" }, nil, "tcp", "h:1")
    assert.equal("timeout", select(2, result()).code)
    server:close()
  end))
end)
