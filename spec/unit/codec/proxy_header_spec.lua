local codec = require "tidegate.native.codec"
local proxy_header = require "tidegate.native.proxy_header"
local stream = require "tidegate.native.stream"

local V1 = "PROXY TCP4 192.0.2.1 198.51.100.7 51234 443\r\n"
local V2 = "\r\n\r\n\0\r\nQUIT\n\33\17\0\12\192\0\2\1\198\51\100\7\200\34\1\187"

describe("PROXY headers", function()
  it("are read in both versions", function()
    for _, bytes in ipairs { V1, V2 } do
      assert.same({ #bytes, "proxy", "192.0.2.1:51234", "198.51.100.7:443", "tcp" },
        { codec.decode(proxy_header.header, bytes .. "rest") })
    end
    assert.same({ 15, "local" }, { codec.decode(proxy_header.header, "PROXY UNKNOWN\r\n") })
  end)

  it("are written in both versions", function()
    assert.equal(V1, proxy_header.encode(1, "192.0.2.1:51234", "198.51.100.7:443"))
    assert.equal(V2, proxy_header.encode(2, "192.0.2.1:51234", "198.51.100.7:443", "tcp4", "tcp"))
    assert.equal("PROXY UNKNOWN\r\n", proxy_header.encode(1))
    assert.equal("PROXY UNKNOWN\r\n", proxy_header.encode(1, "1.2.3.4:1", "1.2.3.4:2", "udp", "udp"))
    assert.equal(V2:sub(1, 12) .. "\32\0\0\0", proxy_header.encode(2, "1.2.3.4:1", "1.2.3.4:2", "tcp", "udp"))
    assert.equal("PROXY TCP4 0.0.0.0 0.0.0.0 0 1\r\n", proxy_header.encode(1, "@", "[::]:1"))
    local header, err = proxy_header.encode(2, "192.0.2.1:1", "[::1]:2")
    assert.is_nil(header)
    assert.equal("invalid", err.code)
  end)

  it("leave a stream without one untouched", function()
    local a, b = stream.pair()
    a:write("POST / HTTP/1.1\r\n")
    assert.equal("none", b:receive(proxy_header.header))
    assert.equal("POST / HTTP/1.1\r\n", b:read())
    a:write(V2, "hello")
    assert.equal("proxy", (b:receive(proxy_header.header)))
    assert.equal("hello", b:read())
    a:close()
    b:close()
  end)
end)
