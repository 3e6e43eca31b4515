-- Content codings, with the programs that know them.

local coding = require "tidegate.native.coding"

local PLAIN = ("the quick brown fox "):rep(1000)

describe("coding", function()
  for _, name in ipairs { "gzip", "deflate", "br", "zstd" } do
    it("packs and unpacks " .. name, function()
      for _, text in ipairs { "", "x", PLAIN } do
        local bytes, whole = coding.unpack(name, assert(coding.pack(name, text)), 100000)
        assert.same(text, bytes)
        assert.is_true(whole)
      end
    end)

    it("says what is cut off, at every length, " .. name, function()
      local packed = assert(coding.pack(name, PLAIN))
      for length = 0, #packed - 1 do
        local bytes, whole = coding.unpack(name, packed:sub(1, length), 100000)
        assert.is_true(bytes == nil or not whole and PLAIN:sub(1, #bytes) == bytes)
      end
    end)

    it("stops where it is told, " .. name, function()
      local packed = assert(coding.pack(name, PLAIN))
      local bytes, whole = coding.unpack(name, packed, 100)
      assert.same({ PLAIN:sub(1, 100), false }, { bytes, whole })
      assert.is_true(select(2, coding.unpack(name, packed, #PLAIN)))
      assert.is_false(select(2, coding.unpack(name, packed, #PLAIN - 1)))
    end)

    it("refuses what is something else, " .. name, function()
      local bytes, err = coding.unpack(name, "\255\254 this is no such thing, is it?", 1000)
      assert.is_nil(bytes)
      assert.same("protocol", err.code)
    end)
  end

  it("takes several members of gzip for one", function()
    local two = coding.pack("gzip", "one ") .. coding.pack("gzip", "two")
    assert.same({ "one two", true }, { coding.unpack("gzip", two, 100) })
  end)
end)
