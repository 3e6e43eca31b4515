local codec = require "tidegate.native.codec"
local udp_frame = require "tidegate.native.udp_frame"

describe("UDP frames", function()
  it("carry datagrams with addresses", function()
    local bytes = "\0\5\255\1\8\8\8\8\0\53hello"
    assert.equal(bytes, udp_frame.encode_tun("8.8.8.8", 53, "hello"))
    assert.same({ #bytes, "hello", "8.8.8.8", 53 }, { codec.decode(udp_frame.tun, bytes .. "x") })
    for cut = 0, #bytes - 1 do
      assert.equal(0, (codec.decode(udp_frame.tun, bytes:sub(1, cut))))
    end
  end)

  it("carry datagrams alone", function()
    assert.equal("\0\3abc", udp_frame.encode_u16("abc"))
    assert.same({ 5, "abc" }, { codec.decode(udp_frame.u16, "\0\3abcd") })
    assert.same({ 2, "" }, { codec.decode(udp_frame.u16, "\0\0") })
    local frame, err = udp_frame.encode_u16(("a"):rep(65536))
    assert.is_nil(frame)
    assert.equal("limit", err.code)
    assert.equal(65537, #udp_frame.encode_u16(("a"):rep(65535)))
  end)

  it("are SOCKS5 datagrams", function()
    local bytes = "\0\0\0\3\1a\0\53data"
    assert.equal(bytes, udp_frame.encode_datagram("a", 53, "data"))
    assert.same({ #bytes, "data", "a", 53 }, { codec.decode(udp_frame.datagram, bytes) })
    local used, err = codec.decode(udp_frame.datagram, "\0\0\0\3")
    assert.is_nil(used)
    assert.equal("protocol", err.code)
  end)
end)
