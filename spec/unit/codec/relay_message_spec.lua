local codec = require "tidegate.native.codec"
local relay = require "tidegate.native.relay_message"

local function decode(decoder, bytes)
  for cut = 0, #bytes - 1 do
    assert.equal(0, (codec.decode(decoder, bytes:sub(1, cut))))
  end
  local used, message = codec.decode(decoder, bytes .. "more")
  assert.equal(#bytes, used)
  return message
end

local function there_and_back(message)
  assert.same(message, decode(relay.request, relay.encode_request(message)))
end

describe("relay requests", function()
  it("are written as gost does", function()
    assert.equal("\1\1\0\31" .. "\1\0\10\4user\4pass" .. "\2\0\15\3\11example.com\1\187",
      relay.encode_request { cmd = 1, user = "user", pass = "pass", host = "example.com", port = 443 })
    assert.equal("\1\129\0\15" .. "\4\0\2\0\1" .. "\2\0\7\1\8\8\8\8\0\53",
      relay.encode_request { cmd = 1, udp = true, network = "udp", host = "8.8.8.8", port = 53 })
    assert.equal("\1\2\0\15" .. "\4\0\2\0\0" .. "\2\0\7\1\0\0\0\0\31\64",
      relay.encode_request { cmd = 2, network = "tcp", host = "0.0.0.0", port = 8000 })
  end)

  it("come back as they were", function()
    there_and_back { cmd = 1, udp = false, host = "example.com", port = 443 }
    there_and_back { cmd = 1, udp = true, network = "udp", user = "u", pass = "", host = "::1", port = 1 }
    there_and_back { cmd = 1, udp = false, network = "unix", host = "/run/a b.sock", port = 0 }
    there_and_back { cmd = 3, udp = false, network = "ip", tunnel = ("t"):rep(20) }
    there_and_back {
      cmd = 2,
      udp = false,
      host = "app.example.com",
      port = 0,
      addresses = { { host = "10.0.0.5", port = 50000 }, { host = "app.example.com", port = 0 } },
      tunnel = ("t"):rep(20),
      metadata = { ["record.mode"] = "off", b = "" },
    }
  end)

  it("do not raise on what is too long", function()
    local bytes, err = relay.encode_request { cmd = 1, user = ("u"):rep(256) }
    assert.is_nil(bytes)
    assert.equal("limit", err.code)
    bytes, err = relay.encode_request { cmd = 1, host = ("u"):rep(256), port = 1 }
    assert.is_nil(bytes)
    assert.equal("limit", err.code)
    assert.has_error(function() relay.encode_request { cmd = 1, network = "carrier pigeon" } end)
  end)

  it("are refused when broken", function()
    for _, bytes in ipairs { "\5", "\1\1\0\1\2", "\1\1\0\4\2\0\1\7" } do
      local used, err = codec.decode(relay.request, bytes)
      assert.is_nil(used)
      assert.equal("protocol", err.code)
      assert.equal("relay", err.layer)
    end
  end)
end)

describe("relay responses", function()
  it("carry status and addresses", function()
    assert.equal("\1\0\0\0", relay.encode_response { status = 0 })
    assert.same({ status = 7 }, decode(relay.response, relay.encode_response { status = 7 }))
    assert.same({ status = 0, host = "10.0.0.2", port = 8000 },
      decode(relay.response, relay.encode_response { status = 0, host = "10.0.0.2", port = 8000 }))
  end)
end)
