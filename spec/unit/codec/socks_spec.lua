local codec = require "tidegate.native.codec"
local socks = require "tidegate.native.socks"
local stream = require "tidegate.native.stream"

local function hex(text)
  return (text:gsub("%s", ""):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

-- The results of a message, which is taken whole and wanted more of before.
local function decode(decoder, bytes)
  for cut = 0, #bytes - 1 do
    assert.equal(0, (codec.decode(decoder, bytes:sub(1, cut))))
  end
  local results = { codec.decode(decoder, bytes .. "more") }
  assert.equal(#bytes, table.remove(results, 1))
  return results
end

describe("SOCKS5", function()
  it("negotiates methods", function()
    assert.same({ "\0\2\128\130" }, decode(socks.greeting5, hex "05 04 00 02 80 82"))
    assert.equal(hex "05 02 00 80", socks.encode_greeting5("\0\128"))
    assert.same({ 255 }, decode(socks.method_reply, hex "05 ff"))
    assert.equal(hex "05 82", socks.encode_method_reply(0x82))
  end)

  it("authenticates", function()
    local bytes = socks.encode_auth("user", "pass")
    assert.equal("\1\4user\4pass", bytes)
    assert.same({ "user", "pass" }, decode(socks.auth, bytes))
    assert.same({ "", "" }, decode(socks.auth, socks.encode_auth()))
    assert.same({ 1 }, decode(socks.auth_reply, socks.encode_auth_reply(1)))
    local refused, err = socks.encode_auth(("a"):rep(256), "")
    assert.is_nil(refused)
    assert.equal("limit", err.code)
  end)

  it("requests and replies", function()
    for _, row in ipairs {
      { 1, "example.com", 443, "05 01 00 03 0b 65 78 61 6d 70 6c 65 2e 63 6f 6d 01 bb" },
      { 0xf2, "0.0.0.0", 8000, "05 f2 00 01 00 00 00 00 1f 40" },
      { 3, "2001:db8::1", 80, "05 03 00 04 20010db8000000000000000000000001 0050" },
    } do
      local bytes = socks.encode_request5(row[1], row[2], row[3])
      assert.equal(hex(row[4]), bytes)
      assert.same({ row[1], row[2], row[3] }, decode(socks.request5, bytes))
    end
    assert.equal(hex "05 03 00 01 00 00 00 00 00 00", socks.encode_reply5(3))
    assert.same({ 0, "127.0.0.1", 80 }, decode(socks.reply5, socks.encode_reply5(0, "127.0.0.1", 80)))
  end)

  it("refuses names that are too long", function()
    local bytes, err = socks.encode_request5(1, ("a"):rep(256), 80)
    assert.is_nil(bytes)
    assert.equal("limit", err.code)
  end)

  it("names what breaks the protocol", function()
    local used, err = codec.decode(socks.request5, "\4\1\0\1")
    assert.is_nil(used)
    assert.equal("protocol", err.code)
    assert.equal("socks5", err.layer)
  end)
end)

describe("SOCKS4", function()
  local named = hex "04 01 01 bb 00 00 00 01 75 73 65 72 00 65 78 61 6d 70 6c 65 2e 63 6f 6d 00"

  it("requests by name and by address", function()
    assert.same({ 1, "example.com", 443, "user" }, decode(socks.request4, named))
    assert.equal(named, socks.encode_request4(1, "example.com", 443, "user"))
    assert.equal(hex "04 01 01 bb c0 00 02 01 00", socks.encode_request4(1, "192.0.2.1", 443, nil, true))
    assert.equal(hex "04 01 01 bb 00 00 00 01 00" .. "192.0.2.1\0",
      socks.encode_request4(1, "192.0.2.1", 443))
    assert.same({ 1, "192.0.2.1", 443, "" }, decode(socks.request4, hex "04 01 01 bb c0 00 02 01 00"))
  end)

  it("replies", function()
    assert.equal(hex "00 5a 00 00 00 00 00 00", socks.encode_reply4(90))
    assert.same({ 91 }, decode(socks.reply4, socks.encode_reply4(91)))
  end)
end)

describe("stream:receive", function()
  it("takes one message and leaves the next", function()
    local a, b = stream.pair()
    a:write(hex "05 01 00", hex "05 01 00 01 c0 00 02 01 00 50", "rest")
    assert.equal("\0", b:receive(socks.greeting5))
    assert.same({ 1, "192.0.2.1", 80 }, { b:receive(socks.request5) })
    assert.equal("rest", b:read())
    a:close()
    b:close()
  end)
end)
