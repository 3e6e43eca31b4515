-- What records say about Redis and TLS: taken from what peers send, whatever they send.

local hello = require "tidegate.handler.sniffing.hello"
local redis = require "tidegate.handler.sniffing.redis"

local function u16(n)
  return string.char(math.floor(n / 256), n % 256)
end

local function server_hello(extensions)
  local body = "\3\3" .. ("r"):rep(32) .. "\4sess" .. "\19\1" .. "\0" .. u16(#extensions) .. extensions
  local message = "\2\0" .. u16(#body) .. body
  return "\22\3\3" .. u16(#message) .. message
end

describe("redis command", function()
  for text, expected in pairs {
    ["*2\r\n$3\r\nGET\r\n$5\r\nmykey\r\n"] = { "GET", "mykey" },
    ["*1\r\n$4\r\nPING\r\n"] = { "PING" },
    ["*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"] = { "SET", "k" },
    ["*2\r\n$3\r\nGE"] = { "GE" },
    ["*2\r\n$99999999999\r\nGET"] = {},
    ["*x"] = {},
    ["+PING\r\n"] = { "PING", "" },
    [""] = {},
  } do
    it(("is read from %q"):format(text), function()
      assert.same(expected, { redis.parse(text) })
    end)
  end

  it("keeps the begin of a long key", function()
    local _, key = redis.parse("*2\r\n$3\r\nGET\r\n$9000\r\n" .. ("k"):rep(9000))
    assert.same(512, #key)
  end)
end)

describe("server hello", function()
  it("tells version, suite and protocol", function()
    local record = server_hello("\0\43\0\2\3\4" .. "\0\16\0\5\0\3\2h2")
    assert.same({ version = "tls1.3", suite = "TLS_AES_128_GCM_SHA256", compression = 0, proto = "h2" },
      hello.parse(record))
  end)

  it("is nothing when it is cut or something else", function()
    local record = server_hello("\0\43\0\2\3\4")
    for length = 0, #record - 1 do
      assert.has_no_error(function()
        hello.parse(record:sub(1, length))
      end)
    end
    assert.is_nil(hello.parse("\21\3\3\0\2\2\40"))
    assert.is_nil(hello.parse(""))
  end)

  it("survives lengths that lie", function()
    for _, extensions in ipairs { "\0\16\255\255", "\0\43\0\0", "\0\16\0\4\0\200\200h", "\0" } do
      assert.has_no_error(function()
        hello.parse(server_hello(extensions))
      end)
    end
  end)
end)
