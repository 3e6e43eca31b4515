local connection = require "spec.helpers.connection"
local helpers = require "spec.helpers"

local NOTLS = { notls = true }
local GREETING, GREETED = "\5\1\0", "\5\0"
local CONNECT = "\5\1\0\3\11example.com\0\80"
local CONNECTED = "\5\0\0\1\0\0\0\0\0\0" -- an in-memory stream has no address

describe("handler socks5", function()
  it("relays both ways after a CONNECT", helpers.task(function()
    local client, ctx, result = connection.serve("socks5", NOTLS)
    client:write(GREETING)
    assert.equal(GREETED, client:read_exact(2))
    client:write(CONNECT)
    assert.equal(CONNECTED, client:read_exact(10))
    assert.same({ "tcp", "example.com:80" }, { ctx.network, ctx.target })
    assert.is_true(result())
    client:write "ping"
    assert.equal("ping", ctx.far:read_exact(4))
    ctx.far:write "pong"
    assert.equal("pong", client:read_exact(4))
    client:close()
    ctx.far:close()
  end))

  it("keeps what comes right behind the request", helpers.task(function()
    local client, ctx, result = connection.serve("socks5", NOTLS)
    client:write(GREETING, CONNECT, "early")
    assert.equal(GREETED .. CONNECTED, client:read_exact(12))
    assert.is_true(result())
    assert.equal("early", ctx.far:read_exact(5))
    client:close()
    ctx.far:close()
  end))

  it("takes input that comes one byte at a time", helpers.task(function()
    local client, ctx, result = connection.serve("socks5", NOTLS, connection.ctx { users = { u = "p" } })
    for byte in ("\5\2\0\2\1\1u\1p" .. "\5\1\0\4\32\1\13\184" .. ("\0"):rep(11) .. "\1\1\187"):gmatch "." do
      client:write(byte)
      helpers.pass()
    end
    assert.equal("\5\2\1\0" .. CONNECTED, client:read_exact(14))
    assert.equal("[2001:db8::1]:443", ctx.target)
    assert.is_true(result())
    client:close()
    ctx.far:close()
  end))

  for code, status in pairs { refused = 3, timeout = 3, resolve = 3, blocked = 2 } do
    it(("answers %d to %s"):format(status, code), helpers.task(function()
      local client, _, result = connection.serve("socks5", NOTLS, connection.ctx { fails = code })
      client:write(GREETING, CONNECT)
      assert.equal(GREETED .. "\5" .. string.char(status) .. "\0\1\0\0\0\0\0\0", client:read_exact(12))
      local ok, err = result()
      assert.is_nil(ok)
      assert.equal(code, err.code)
    end))
  end

  it("refuses a wrong password", helpers.task(function()
    local client, _, result = connection.serve("socks5", NOTLS, connection.ctx { users = { u = "p" } })
    client:write "\5\1\2\1\1u\1x"
    assert.equal("\5\2\1\1", client:read_exact(4))
    assert.equal("auth", select(2, result()).code)
  end))

  local methods = {
    { offered = "\2", chosen = "\255", why = "a password nobody asked for" },
    { offered = "\0", users = { u = "p" }, chosen = "\255", why = "no password" },
    { offered = "\0\128", chosen = "\128", tls = true, why = "TLS" },
    { offered = "\0\2\128\130", users = { u = "p" }, chosen = "\130", tls = true, why = "TLS and a password" },
    { offered = "\0\128", chosen = "\0", why = "TLS when it is off" },
  }
  for _, case in ipairs(methods) do
    it("chooses for a client that offers " .. case.why, helpers.task(function()
      local client, _, result = connection.serve("socks5", { notls = not case.tls },
        connection.ctx { users = case.users })
      client:write("\5" .. string.char(#case.offered) .. case.offered)
      assert.equal("\5" .. case.chosen, client:read_exact(2))
      client:close()
      assert.is_nil((result()))
    end))
  end

  it("answers commands it does not know or allow", helpers.task(function()
    for command, status in pairs { [9] = 7, [0xf0] = 7, [2] = 2, [0xf2] = 2 } do
      local client, _, result = connection.serve("socks5", NOTLS)
      client:write(GREETING, "\5" .. string.char(command) .. "\0\1\127\0\0\1\0\80")
      assert.equal(GREETED .. "\5" .. string.char(status), client:read_exact(4))
      assert.is_nil((result()))
      client:close()
    end
  end))

  it("says where the client stopped", helpers.task(function()
    local whole = "\5\1\2\1\1u\1p\5\1\0\3\11example.com\0\80"
    for cut = 1, #whole - 1 do
      local client, _, result = connection.serve("socks5", NOTLS, connection.ctx { users = { u = "p" } })
      client:write(whole:sub(1, cut))
      client:shutdown()
      local ok, err = result()
      assert.is_nil(ok)
      assert.equal("eof", err.code)
      assert.equal(cut < 8 and "greeting" or "request", err.op)
      client:close()
    end
  end))

  it("gives a silent client its time and no more", helpers.task(function()
    for _, said in ipairs { "", "\5", "\5\1\0", "\5\1\0\5\1\0\3\11exam" } do
      local client, _, result = connection.serve("socks5", { notls = true, readTimeout = "30ms" })
      client:write(said)
      assert.equal("timeout", select(2, result()).code)
      client:close()
    end
  end))

  it("turns garbage away", helpers.task(function()
    for _, said in ipairs {
      "GET / HTTP/1.1\r\n", "\4\1", "\5\0", "\5\1\0\4", "\5\1\0\5\1\0\9", "\5\1\0\5\1\0\3\3a\0b\0\80",
    } do
      local client, _, result = connection.serve("socks5", NOTLS)
      client:write(said)
      client:shutdown()
      local ok, err = result()
      assert.is_nil(ok)
      assert.truthy(err.code == "protocol" or err.code == "auth", tostring(err))
      client:close()
    end
  end))
end)
