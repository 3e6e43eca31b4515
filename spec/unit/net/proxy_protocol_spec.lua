-- PROXY headers on streams.

local helpers = require "spec.helpers"
local proxy_protocol = require "tidegate.net.proxy_protocol"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local V1 = "PROXY TCP4 192.0.2.1 198.51.100.7 51234 443\r\n"
local V2 = "\13\10\13\10\0\13\10\81\85\73\84\10\33\17\0\12"
  .. "\192\0\2\1\198\51\100\7\200\34\1\187"

-- What a context shows of the header in `bytes`, and what is left in the stream.
local function receive(bytes)
  local a, b = stream.pair()
  b:write(bytes)
  b:shutdown()
  local ctx = {}
  local ok, err = proxy_protocol.receive(ctx, a)
  local rest = ok and a:read()
  a:close()
  b:close()
  return ctx, rest, err
end

describe("proxy protocol", function()
  it("is read in both versions", helpers.task(function()
    for _, header in ipairs { V1, V2 } do
      local ctx, rest = receive(header .. "hello")
      assert.equal("192.0.2.1:51234", ctx.src)
      assert.equal("198.51.100.7:443", ctx.dst)
      assert.equal("hello", rest)
    end
    local ctx, rest = receive "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\nx"
    assert.equal("[2001:db8::1]:1", ctx.src)
    assert.equal("x", rest)
  end))

  it("is optional", helpers.task(function()
    for _, bytes in ipairs { "GET / HTTP/1.1\r\n", "POST", "\22\3\1", "\13\10\13\10\0\13\10x" } do
      local ctx, rest, err = receive(bytes)
      assert.is_nil(err)
      assert.is_nil(ctx.src)
      assert.equal(bytes, rest)
    end
  end))

  it("may say that it does not know", helpers.task(function()
    for _, bytes in ipairs {
      "PROXY UNKNOWN\r\n", "\13\10\13\10\0\13\10\81\85\73\84\10\32\0\0\0",
    } do
      local ctx, rest = receive(bytes .. "x")
      assert.is_nil(ctx.src)
      assert.equal("x", rest)
    end
  end))

  it("is refused when it is broken or cut short", helpers.task(function()
    for _, bytes in ipairs {
      "PROXY TCP4 1.2.3.4 5.6.7.8 99999 1\r\n", "PROXY TCP4 1.2.3.4", "PROXY " .. ("x"):rep(200),
      V2:sub(1, 20), "\13\10\13\10\0\13\10\81\85\73\84\10\49\17\0\12" .. ("\0"):rep(12),
    } do
      local ctx, rest, err = receive(bytes)
      assert.is_nil(ctx.src)
      assert.is_truthy(err, bytes)
      assert.is_falsy(rest)
      assert.matches("PROXY header", tostring(err))
    end
  end))

  it("does not wait for ever", helpers.task(function()
    local a, b = stream.pair()
    local src, err = proxy_protocol.read(a, task.now() + 30)
    assert.is_nil(src)
    assert.is_nil(err)
    b:write "late"
    assert.equal("late", a:read())

    b:write "PROXY TCP4 1.2"
    src, err = proxy_protocol.read(a, task.now() + 30)
    assert.is_nil(src)
    assert.equal("timeout", err.code)
    a:close()
    b:close()
  end))

  local function send(ctx, version)
    local a, b = stream.pair()
    assert.is_true(proxy_protocol.send(ctx, b, version))
    b:write "|"
    local bytes = a:read()
    a:close()
    b:close()
    return bytes:match "^(.*)|$"
  end

  it("is written in both versions", helpers.task(function()
    local ctx = { client = "192.0.2.1:51234", dst = "198.51.100.7:443" }
    assert.equal(V1, send(ctx, 1))
    assert.equal(V2, send(ctx, 2))
    assert.equal(V2, send(ctx, 7))
    ctx = { client = "[2001:db8::1]:1", dst = "[2001:db8::2]:2" }
    assert.equal("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", send(ctx, 1))
    ctx.service = { listener = { network = "udp" } }
    assert.equal("PROXY UNKNOWN\r\n", send(ctx, 1))
  end))

  it("is left out when there is nothing to say", helpers.task(function()
    for _, ctx in ipairs {
      { client = "@", dst = "@" },
      { client = "192.0.2.1:1", dst = "[2001:db8::1]:2" },
      { client = "192.0.2.1:1" },
    } do
      assert.equal("", send(ctx, 2))
    end
  end))
end)
