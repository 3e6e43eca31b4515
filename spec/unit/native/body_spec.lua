-- Moving one message body: framing, ends, backpressure, what stays behind.

local body = require "tidegate.native.body"
local helpers = require "spec.helpers"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

describe("body.copy", function()
  local from, source, to, sink

  before_each(function()
    source, from = stream.pair()
    to, sink = stream.pair()
  end)

  after_each(function()
    for _, s in ipairs { source, from, to, sink } do
      s:close()
    end
  end)

  -- Everything that arrives until the end of input.
  local function read_all(s)
    local parts = {}
    while true do
      local bytes = s:read()
      if not bytes then
        return table.concat(parts)
      end
      parts[#parts + 1] = bytes
    end
  end

  it("moves a counted body and leaves the rest", helpers.task(function()
    source:write("hello, next")
    assert.equal(5, body.copy(from, to, 5))
    assert.equal("hello", sink:read())
    assert.equal(", next", from:read())
  end))

  it("waits for a body that comes one byte at a time", helpers.task(function()
    local result = helpers.spawn(body.copy, from, to, 6, "H:")
    for byte in ("abcdefg"):gmatch "." do
      source:write(byte)
      helpers.pass()
    end
    assert.equal(6, result())
    assert.equal("H:abcdef", sink:read_exact(8))
    assert.equal("g", from:read())
  end))

  it("writes the prefix at once when no body is there", helpers.task(function()
    local result = helpers.spawn(body.copy, from, to, 3, "head ")
    assert.equal("head ", sink:read())
    source:write("abc")
    assert.equal("abc", sink:read())
    assert.equal(3, result())
  end))

  it("writes a prefix with an empty body", helpers.task(function()
    assert.equal(0, body.copy(from, to, 0, "head"))
    assert.equal("head", sink:read())
  end))

  local CHUNKED = "5\r\nhello\r\n3;a=\"b c\"\r\n, w\r\n4 \r\norld\r\n0\r\nX-Sum: 1\r\n\r\n"

  it("moves a chunked body with its trailers and leaves the rest", helpers.task(function()
    source:write(CHUNKED .. "NEXT")
    assert.equal(#CHUNKED, body.copy(from, to, "chunked"))
    assert.equal(CHUNKED, sink:read())
    assert.equal("NEXT", from:read())
  end))

  it("finds the end of a chunked body in every cut", helpers.task(function()
    for at = 1, #CHUNKED - 1 do
      local result = helpers.spawn(body.copy, from, to, "chunked")
      source:write(CHUNKED:sub(1, at))
      helpers.pass()
      source:write(CHUNKED:sub(at + 1) .. "N")
      assert.equal(#CHUNKED, result())
      assert.equal(CHUNKED, sink:read_exact(#CHUNKED))
      assert.equal("N", from:read())
    end
  end))

  it("takes chunk sizes off", helpers.task(function()
    local result = helpers.spawn(body.copy, from, to, "chunked", "H:", 0, 0, "plain")
    for byte in (CHUNKED .. "N"):gmatch "." do
      source:write(byte)
      helpers.pass()
    end
    assert.equal(12, result())
    assert.equal("H:hello, world", sink:read_exact(14))
    assert.equal("N", from:read())
  end))

  for _, bad in ipairs {
    "\r\n", "x\r\n", "5\nhello", "-5\r\nhello", "0x5\r\nhello", "5\r\nhelloX", "5 5\r\nhello",
    "5;\1\r\n", "1000000000000000\r\n", "0\r\n\n", "0\r\n X: folded\r\n\r\n", "0\r\nX: a\nb\r\n",
    "5\r\nhello\n0\r\n\r\n", ("0"):rep(20) .. "\r\n\r\n", "0;" .. ("x"):rep(5000),
    "0\r\nX: " .. ("x"):rep(20000),
  } do
    it(("refuses the chunks %q"):format(bad:sub(1, 30)), helpers.task(function()
      source:write(bad)
      local moved, err, side = body.copy(from, to, "chunked")
      assert.is_nil(moved)
      assert.is_true(err.code == "protocol" or err.code == "limit")
      assert.equal("from", side)
    end))
  end

  it("moves everything until the end of input", helpers.task(function()
    source:write("abc")
    local result = helpers.spawn(body.copy, from, to, "close")
    helpers.pass()
    source:write("def")
    source:shutdown()
    assert.equal(6, result())
    assert.equal("abcdef", sink:read_exact(6))
  end))

  it("tells an early end", helpers.task(function()
    for _, framing in ipairs { 10, "chunked" } do
      source, from = stream.pair()
      source:write("5\r\nhel")
      source:shutdown()
      local moved, err, side, so_far = body.copy(from, to, framing)
      assert.is_nil(moved)
      assert.same({ "eof", "from", 6 }, { err.code, side, so_far })
      from:close()
      source:close()
    end
  end))

  it("moves many bytes under backpressure unchanged", helpers.task(function()
    local parts = {}
    for i = 1, 40000 do
      parts[i] = ("%08x:%s;"):format(i * 2654435761 % 2 ^ 32, ("ab"):rep(i % 37))
    end
    local bytes = table.concat(parts)
    local result = helpers.spawn(function()
      local moved = body.copy(from, to, #bytes, nil, 5000, 5000)
      to:shutdown()
      return moved
    end)
    local wrote = helpers.spawn(function() return source:write(bytes) end)
    helpers.pass()
    assert.is_true(read_all(sink) == bytes)
    assert.equal(#bytes, result())
    assert.is_true(wrote())
  end))

  it("moves many chunks under backpressure unchanged, framed and plain", helpers.task(function()
    local parts, plain = {}, {}
    for i = 1, 3000 do
      local data = ("%d,"):format(i):rep(i % 300 + 1)
      plain[i], parts[i] = data, ("%x\r\n%s\r\n"):format(#data, data)
    end
    local framed = table.concat(parts) .. "0\r\n\r\n"
    for _, bare in ipairs { false, true } do
      local near, far = stream.pair()
      local result = helpers.spawn(function()
        local moved = body.copy(from, near, "chunked", nil, 5000, 5000, bare and "plain" or nil)
        near:shutdown()
        return moved
      end)
      local wrote = helpers.spawn(function() return source:write(framed .. "NEXT") end)
      local wanted = bare and table.concat(plain) or framed
      assert.is_true(read_all(far) == wanted)
      assert.equal(#wanted, result())
      assert.is_true(wrote())
      assert.equal("NEXT", from:read())
      near:close()
      far:close()
    end
  end))

  describe("unpacks gzip", function()
    -- gzip of ("tidegate, "):rep(3000), by Python's zlib
    local PACKED = ("1f8b0800000000000203edc6c10900200c04b0551ca04b0916f17ffbd321fc26afe49dbe3b5d2b66"
      .. "66666666666666666666666666666666666666666666666666666666666666666666666666666666"
      .. "66666666666666666666666666666666665f1b5f02a78030750000"):gsub("%x%x", function(hex)
      return string.char(tonumber(hex, 16))
    end)
    local PLAIN = ("tidegate, "):rep(3000)

    -- Undo the chunks that were made.
    local function join(text)
      local parts, at = {}, 1
      while true do
        local size, begin = text:match("^(%x+)\r\n()", at)
        size = tonumber(size, 16)
        if size == 0 then
          assert.equal("0\r\n\r\n", text:sub(at))
          return table.concat(parts)
        end
        parts[#parts + 1] = text:sub(begin, begin + size - 1)
        assert.equal("\r\n", text:sub(begin + size, begin + size + 1))
        at = begin + size + 2
      end
    end

    local function chunked(bytes, size)
      local parts = {}
      for at = 1, #bytes, size do
        local part = bytes:sub(at, at + size - 1)
        parts[#parts + 1] = ("%x\r\n%s\r\n"):format(#part, part)
      end
      return table.concat(parts) .. "0\r\n\r\n"
    end

    it("from every framing, to both", helpers.task(function()
      for framing, bytes in pairs { [#PACKED] = PACKED, chunked = chunked(PACKED, 3), close = PACKED } do
        for _, shape in ipairs { "unpack", "unpack-chunks" } do
          local s, f = stream.pair()
          local t, k = stream.pair()
          local result = helpers.spawn(function()
            local moved, err = body.copy(f, t, framing, "H:", 1000, 1000, shape)
            t:shutdown()
            return moved, err
          end)
          s:write(bytes .. (framing == "close" and "" or "NEXT"))
          s:shutdown()
          local got = read_all(k)
          assert.equal("H:", got:sub(1, 2))
          got = shape == "unpack" and got:sub(3) or join(got:sub(3))
          assert.is_true(got == PLAIN)
          assert.is_number((result()))
          assert.equal(framing ~= "close" and "NEXT" or nil, (f:read()))
          for _, x in ipairs { s, f, t, k } do
            x:close()
          end
        end
      end
    end))

    it("in members, one byte at a time", helpers.task(function()
      local result = helpers.spawn(body.copy, from, to, 2 * #PACKED, nil, 0, 0, "unpack")
      local got = helpers.spawn(sink.read_exact, sink, 2 * #PLAIN)
      for byte in (PACKED .. PACKED):gmatch "." do
        source:write(byte)
        helpers.pass()
      end
      assert.is_true(got() == PLAIN .. PLAIN)
      assert.equal(2 * #PLAIN, result())
    end))

    it("and tells damage and a cut", helpers.task(function()
      for _, bad in ipairs { PACKED:sub(1, -2), PACKED:sub(1, -3) .. "xx", "plain text", "" } do
        local s, f = stream.pair()
        local t, k = stream.pair()
        s:write(bad)
        s:shutdown()
        local moved, err, side = body.copy(f, t, "close", nil, 0, 0, "unpack")
        assert.is_nil(moved)
        assert.same({ "protocol", "from" }, { err.code, side })
        for _, x in ipairs { s, f, t, k } do
          x:close()
        end
      end
    end))
  end)

  it("drops a body when there is nowhere to put it", helpers.task(function()
    source:write("hello, next")
    assert.equal(7, body.copy(from, nil, 7))
    assert.equal("next", from:read())
  end))

  it("leaves the other directions to tasks meanwhile", helpers.task(function()
    local result = helpers.spawn(body.copy, from, to, 4)
    helpers.pass()
    local answer = helpers.spawn(to.read, to)
    assert.is_true(from:write("interim"))
    assert.equal("interim", source:read())
    sink:write("response")
    assert.equal("response", answer())
    source:write("body")
    assert.equal(4, result())
    assert.equal("body", sink:read())
  end))

  it("keeps others out of the directions it uses", helpers.task(function()
    local result = helpers.spawn(body.copy, from, to, 4)
    helpers.pass()
    assert.has_error(function() from:read() end)
    assert.has_error(function() to:write("x") end)
    assert.has_error(function() body.copy(from, to, 4) end)
    source:write("body")
    assert.equal(4, result())
    assert.is_true(to:write("x"))
  end))

  it("ends when either stream is closed here", helpers.task(function()
    for _, which in ipairs { "from", "to" } do
      local s, f = stream.pair()
      local t, k = stream.pair()
      local result = helpers.spawn(body.copy, f, t, 4)
      helpers.pass()
      local victim = which == "from" and f or t
      victim:close()
      local moved, err, side = result()
      assert.is_nil(moved)
      assert.same({ "closed", which }, { err.code, side })
      for _, x in ipairs { s, f, t, k } do
        x:close()
      end
    end
  end))

  it("says when the sink is gone", helpers.task(function()
    local result = helpers.spawn(body.copy, from, to, 4)
    helpers.pass()
    sink:close()
    source:write("body")
    local moved, _, side = result()
    assert.is_nil(moved)
    assert.equal("to", side)
  end))

  it("gives up a silent source, and a sink that takes nothing", helpers.task(function()
    local moved, err, side = body.copy(from, to, 4, nil, 20)
    assert.is_nil(moved)
    assert.same({ "timeout", "from" }, { err.code, side })

    local big = ("x"):rep(1000000)
    local wrote = helpers.spawn(source.write, source, big)
    moved, err, side = body.copy(from, to, #big, nil, 0, 20)
    assert.is_nil(moved)
    assert.same({ "timeout", "to" }, { err.code, side })
    from:close()
    wrote()
  end))

  it("goes on as long as there is progress", helpers.task(function()
    local result = helpers.spawn(body.copy, from, to, 6, nil, 1000)
    for byte in ("abcdef"):gmatch "." do
      task.sleep(0.25)
      source:write(byte)
    end
    assert.equal(6, result())
  end))

  it("is bounded by the deadline of its source", helpers.task(function()
    from:set_deadline(task.now() + 20)
    local moved, err = body.copy(from, to, 4)
    assert.is_nil(moved)
    assert.equal("timeout", err.code)
  end))

  it("keeps a copy of what goes out, up to a bound", helpers.task(function()
    for _, case in ipairs {
      { "hello", 5, 100, "hello", false },
      { "hello", 5, 5, "hello", false },
      { "hello", 5, 4, "hell", true },
      { "2\r\nab\r\n0\r\n\r\n", "chunked", 100, "2\r\nab\r\n0\r\n\r\n", false },
      { "2\r\nab\r\n0\r\n\r\n", "chunked", 100, "ab", false, "plain" },
    } do
      source:write(case[1])
      local moved, kept, cut = body.copy(from, to, case[2], "head:", 0, 0, case[6], case[3])
      assert.equal(case[6] and 2 or #case[1], moved)
      assert.same({ case[4], case[5] }, { kept, cut })
      assert.equal("head:" .. (case[6] and "ab" or case[1]), sink:read())
    end
  end))

  it("hands the copy out when the body is waited for, and when it breaks off", helpers.task(function()
    local result = helpers.spawn(body.copy, from, to, 300000, "", 0, 0, nil, 200000)
    local reader = helpers.spawn(read_all, sink)
    for _ = 1, 150 do
      source:write(("x"):rep(1000))
      helpers.pass()
    end
    source:close()
    local moved, err, side, so_far, kept, cut = result()
    assert.is_nil(moved)
    assert.equal("eof", err.code)
    assert.same({ "from", 150000, ("x"):rep(150000), false }, { side, so_far, kept, cut })
    to:close()
    assert.equal(150000, #reader())
  end))

  it("knows an idle stream from a used or dead one", helpers.task(function()
    assert.is_true(body.quiet(from))
    source:write("x")
    assert.is_false(body.quiet(from))
    assert.equal("x", from:read())
    source:close()
    assert.is_false(body.quiet(from))
    from:close()
    assert.is_false(body.quiet(from))
  end))
end)
