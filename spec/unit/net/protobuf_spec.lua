local protobuf = require "tidegate.net.protobuf"

local Inner = { { 1, "id", "string" }, { 2, "count", "uint64" } }
local All = {
  { 1, "text", "string" }, { 2, "data", "bytes" }, { 3, "yes", "bool" }, { 4, "signed", "int64" },
  { 5, "unsigned", "uint64" }, { 6, "list", "string", repeated = true }, { 7, "one", "message", of = Inner },
  { 8, "many", "message", of = Inner, repeated = true }, { 1000, "far", "string" },
}

local function hex(text)
  return (text:gsub("%x%x", function(byte)
    return string.char(tonumber(byte, 16))
  end):gsub(" ", ""))
end

describe("net.protobuf", function()
  it("writes what the encoding guide has", function()
    assert.equal(hex "08 96 01", protobuf.encode({ { 1, "a", "int64" } }, { a = 150 }))
    assert.equal(hex "12 07 74 65 73 74 69 6e 67", protobuf.encode({ { 2, "b", "string" } }, { b = "testing" }))
    assert.equal(hex "08 fe ff ff ff ff ff ff ff ff 01", protobuf.encode({ { 1, "a", "int64" } }, { a = -2 }))
    assert.equal(hex "1a 03 10 96 01", protobuf.encode({ { 3, "c", "message", of = Inner } }, { c = { count = 150 } }))
    assert.equal("", protobuf.encode(All, { text = "", yes = false, signed = 0, list = {} }))
    assert.equal(hex "32 00 32 01 61", protobuf.encode(All, { list = { "", "a" } }))
    assert.equal(hex "3a 00", protobuf.encode(All, { one = {} }))
  end)

  it("returns what was written", function()
    local values = {
      text = "grüße\0", data = ("\255\0"):rep(1000), yes = true, signed = -9007199254740992,
      unsigned = 9007199254740991, list = { "a", "", "c" }, one = { id = "x", count = 0 },
      many = { { id = "", count = 1 }, { id = "y", count = 0 } }, far = "z",
    }
    assert.same(values, protobuf.decode(All, protobuf.encode(All, values)))
    for _, number in ipairs { 0, 1, 127, 128, 16383, 16384, 2 ^ 31, 2 ^ 32, 2 ^ 53 } do
      assert.equal(number, protobuf.decode(All, protobuf.encode(All, { unsigned = number })).unsigned)
      assert.equal(-number, protobuf.decode(All, protobuf.encode(All, { signed = -number })).signed)
    end
  end)

  it("has defaults for what is absent, and passes over what it does not know", function()
    local empty = { text = "", data = "", yes = false, signed = 0, unsigned = 0, list = {}, many = {}, far = "" }
    assert.same(empty, protobuf.decode(All, ""))
    assert.same(empty, protobuf.decode(All, hex "78 96 01 7a 02 61 62 79 00 00 00 00 00 00 00 00 7d 00 00 00 00"))
    assert.equal("b", protobuf.decode(All, hex "0a 01 61 0a 01 62").text)
  end)

  it("refuses hostile bytes", function()
    local cases = {
      "0a", "0a 05 61", "0a ff ff ff ff ff ff ff ff ff 01", "0a 80", "00 01", "02 00", "0b", "0c", "0e 00", "0f",
      "18 ff ff ff ff ff ff ff ff ff 02", "18 80 80 80 80 80 80 80 80 80 80 00", "79 00", "7d 00 00 00", "08 01",
      "1a 00", "3a 02 0a 05", "f8 ff ff ff ff ff ff ff ff 01 00",
    }
    for _, case in ipairs(cases) do
      local values, err = protobuf.decode(All, hex(case))
      assert.is_nil(values, case)
      assert.equal("protocol", err.code, case)
    end
    math.randomseed(7)
    for _ = 1, 20000 do
      local bytes = {}
      for i = 1, math.random(0, 24) do
        bytes[i] = string.char(math.random(0, 255))
      end
      protobuf.decode(All, table.concat(bytes))
    end
  end)
end)
