local client_hello = require "tidegate.native.client_hello"
local codec = require "tidegate.native.codec"
local sniff = require "tidegate.native.sniff"
local stream = require "tidegate.native.stream"

-- A small ClientHello for example.com.
local NAME = "\0\0\0\16\0\14\0\0\11example.com"
local PROTOCOLS = "\0\16\0\14\0\12\2h2\8http/1.1"
local BODY = "\3\3" .. ("U"):rep(32) .. "\0" .. "\0\2\19\1" .. "\1\0" .. "\0" .. string.char(#NAME + #PROTOCOLS)
  .. NAME .. PROTOCOLS
local MESSAGE = "\1\0\0" .. string.char(#BODY) .. BODY
local HELLO = "\22\3\1\0" .. string.char(#MESSAGE) .. MESSAGE

describe("sniff", function()
  it("classifies first bytes", function()
    assert.equal("http", sniff.classify("GET / HTTP/1.1"))
    assert.equal("tls", sniff.classify(HELLO))
    assert.equal("socks5", sniff.classify("\5"))
    assert.equal("ssh", sniff.classify("SSH-2.0-x"))
    assert.equal("none", sniff.classify("hello"))
    assert.is_nil(sniff.classify("CONN"))
  end)

  it("tells DNS queries by their heads, from others and from the beginning", function()
    local query = "\18\52\1\32\0\1\0\0\0\0\0\1\7example\3com\0\0\1\0\1"
    local over_tcp = "\0" .. string.char(#query) .. query
    assert.equal("dns", sniff.classify(over_tcp))
    for cut = 0, 13 do
      assert.is_nil(sniff.classify(over_tcp:sub(1, cut)))
    end
    assert.equal("dns", sniff.classify(over_tcp:sub(1, 14)))
    assert.is_true(sniff.is_dns(query))
    for at, byte in pairs { [3] = 129, [4] = 128, [5] = 1, [6] = 2, [8] = 1, [10] = 1, [11] = 1, [12] = 3 } do
      local other = query:sub(1, at - 1) .. string.char(byte) .. query:sub(at + 1)
      assert.is_false(sniff.is_dns(other), at)
      assert.equal("none", sniff.classify("\0" .. string.char(#other) .. other))
    end
    assert.is_false(sniff.is_dns(query:sub(1, 16)))
    assert.equal("none", sniff.classify("\0\16"))
    assert.equal("none", sniff.classify "\6\0")
    assert.equal("none", sniff.classify("\3\0\0\19\14\224")) -- RDP
    assert.equal("none", sniff.classify("\0\0\0\8")) -- PostgreSQL
    assert.equal("none", sniff.classify("\0\17\0\0\0\6\1\3")) -- Modbus
  end)

  it("leaves the bytes where they are", function()
    local a, b = stream.pair()
    a:write("\5\1\0")
    assert.equal("socks5", b:receive(sniff.first))
    assert.equal("\5\1\0", b:read())
    a:close()
    b:close()
  end)
end)

describe("client_hello", function()
  it("tells where a connection wants to go", function()
    for cut = 0, #HELLO - 1 do
      assert.equal(0, (codec.decode(client_hello.hello, HELLO:sub(1, cut))))
    end
    local used, hello = codec.decode(client_hello.hello, HELLO .. "more")
    assert.equal(#HELLO, used)
    assert.same({
      server_name = "example.com",
      alpn = { "h2", "http/1.1" },
      versions = {},
      version = 0x0303,
      bytes = HELLO,
    }, hello)
  end)

  it("refuses what is none", function()
    local used, err = codec.decode(client_hello.hello, "GET /")
    assert.is_nil(used)
    assert.equal("protocol", err.code)
  end)
end)
