local connection = require "spec.helpers.connection"
local helpers = require "spec.helpers"

local ZEROS = "\0\0\0\0\0\0"
local TO_NAME = "\4\1\1\187\0\0\0\1user\0example.com\0"
local TO_ADDRESS = "\4\1\0\80\127\0\0\1\0"

describe("handler socks4", function()
  for what, case in pairs {
    ["an address"] = { TO_ADDRESS, "127.0.0.1:80" },
    ["a name (SOCKS4a)"] = { TO_NAME, "example.com:443" },
  } do
    it("relays to " .. what, helpers.task(function()
      local client, ctx, result = connection.serve "socks4"
      client:write(case[1], "early")
      assert.equal("\0\90" .. ZEROS, client:read_exact(8))
      assert.equal(case[2], ctx.target)
      assert.is_true(result())
      assert.equal("early", ctx.far:read_exact(5))
      client:close()
      ctx.far:close()
    end))
  end

  for code, status in pairs { refused = 91, timeout = 91, blocked = 92 } do
    it(("answers %d to %s"):format(status, code), helpers.task(function()
      local client, _, result = connection.serve("socks4", nil, connection.ctx { fails = code })
      client:write(TO_NAME)
      assert.equal("\0" .. string.char(status) .. ZEROS, client:read_exact(8))
      assert.equal(code, select(2, result()).code)
    end))
  end

  it("asks the user id when users are configured", helpers.task(function()
    local client, _, result = connection.serve("socks4", nil, connection.ctx { users = { user = "" } })
    client:write(TO_NAME)
    assert.equal("\0\90", client:read_exact(2))
    assert.is_true(result())
    client:close()
    client, _, result = connection.serve("socks4", nil, connection.ctx { users = { user = "" } })
    client:write(TO_ADDRESS)
    assert.equal("\0\93" .. ZEROS, client:read_exact(8))
    assert.equal("auth", select(2, result()).code)
  end))

  it("closes at BIND, cuts, silence and garbage", helpers.task(function()
    local client, _, result = connection.serve "socks4"
    client:write "\4\2\0\80\127\0\0\1\0"
    assert.equal("eof", select(2, client:read()).code)
    assert.equal("unsupported", select(2, result()).code)
    for cut = 1, #TO_NAME - 1 do
      client, _, result = connection.serve "socks4"
      client:write(TO_NAME:sub(1, cut))
      client:shutdown()
      assert.equal("eof", select(2, result()).code)
      client:close()
    end
    client, _, result = connection.serve("socks4", { readTimeout = "20ms" })
    client:write "\4\1"
    assert.equal("timeout", select(2, result()).code)
    client:close()
    client, _, result = connection.serve "socks4"
    client:write "\5\1\0"
    assert.equal("protocol", select(2, result()).code)
    client:close()
  end))
end)
