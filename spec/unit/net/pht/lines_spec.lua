-- Bodies of the plain HTTP tunnel, as they come in pieces.

local helpers = require "spec.helpers"
local lines = require "tidegate.net.pht.lines"
local stream = require "tidegate.native.stream"

-- What a body says.  @return all bytes | nil, then lines, whether a line was foreign, what follows the body | the error
local function said(text, framing, most, piece)
  local a, b = stream.pair()
  local feeding = helpers.spawn(function()
    for at = 1, #text, piece do
      a:write(text:sub(at, at + piece - 1))
    end
    a:shutdown()
  end)
  local more, body = lines.reader(b, framing, most)
  local parts, bytes, err = {}, nil, nil
  repeat
    bytes, err = more()
    parts[#parts + 1] = bytes or nil
  until not bytes
  feeding()
  local count, _, foreign = body:state()
  local rest = b:read()
  a:close()
  b:close()
  if bytes == nil then
    return nil, err.code
  end
  return table.concat(parts), count, foreign, rest
end

describe("the lines of a pht body", function()
  it("come in every framing, however it is cut", helpers.task(function()
    local chunked = "9\r\naGVsbG8=\n\r\n1\r\n\n\r\n4\r\naGVs\r\n5\r\nbG8=\n\r\n0\r\n\r\nnext"
    for _, piece in ipairs { 1, 3, 1000 } do
      assert.same({ "hellohello", 3, false, "next" }, { said(chunked, "chunked", nil, piece) }, piece)
      assert.same({ "hello", 3, false, "next" }, { said(chunked, "chunked", 1, piece) }, piece)
      assert.same({ "hellohello", 2, false }, { said("aGVsbG8=\r\naGVsbG8=", "close", nil, piece) }, piece)
      assert.same({ "hello", 1, false, "aGVs" }, { said("aGVsbG8=aGVs", 8, nil, piece) }, piece)
      assert.same({ "hello", 2, true }, { said("aGVsbG8=\n???\n", "close", nil, piece) }, piece)
      assert.same({ "", 0, false, "x" }, { said("x", 0, nil, piece) }, piece)
    end
  end))

  it("may be broken", helpers.task(function()
    assert.same({ nil, "protocol" }, { said("zz\r\n", "chunked", nil, 100) })
    assert.same({ nil, "eof" }, { said("9\r\naGVs", "chunked", nil, 100) })
    assert.same({ nil, "eof" }, { said("aGVs", 8, nil, 100) })
    assert.same({ nil, "limit" }, { said(("x"):rep(65537), "close", nil, 10000) })
    assert.same({ nil, "limit" }, { said(("x"):rep(65540) .. "\n", "close", nil, 70000) })
  end))
end)
