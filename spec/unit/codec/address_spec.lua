local address = require "tidegate.native.address"

describe("address.split", function()
  it("takes host and port apart", function()
    for text, want in pairs {
      ["example.com:443"] = { "example.com", 443 },
      ["[2001:db8::1]:80"] = { "2001:db8::1", 80 },
      [":8080"] = { "", 8080 },
      ["[fe80::1%eth0]:22"] = { "fe80::1%eth0", 22 },
    } do
      assert.same(want, { address.split(text) })
    end
  end)

  it("puts a default in for a port that is missing", function()
    assert.same({ "example.com", 80 }, { address.split("example.com", 80) })
    assert.same({ "::1", 80 }, { address.split("::1", 80) })
    assert.same({ "::1", 80 }, { address.split("[::1]", 80) })
    assert.same({ "example.com", 8 }, { address.split("example.com:8", 80) })
  end)

  it("says what is wrong", function()
    local host, err = address.split("example.com")
    assert.is_nil(host)
    assert.equal("invalid", err.code)
    assert.equal("the port is missing", err.message)
    for _, text in ipairs { "", "a:x", "a:65536", "::1:80", "[::1", "[::1]80" } do
      host, err = address.split(text)
      assert.is_nil(host)
      assert.equal("invalid", err.code)
    end
  end)
end)

describe("address.join", function()
  it("puts brackets where they belong", function()
    assert.equal("example.com:443", address.join("example.com", 443))
    assert.equal("[::1]:0", address.join("::1", 0))
    assert.equal("[::1]:1", address.join("[::1]", 1))
    assert.equal(":80", address.join("", 80))
    local long = ("a"):rep(1000)
    assert.equal(long .. ":65535", address.join(long, 65535))
  end)

  it("raises on what is no port", function()
    assert.has_error(function() address.join("a", 65536) end)
    assert.has_error(function() address.join("a") end)
  end)
end)

describe("address.kind", function()
  it("tells literals from names", function()
    for host, want in pairs {
      [""] = "empty",
      ["192.0.2.1"] = "ipv4",
      ["::ffff:192.0.2.1"] = "ipv4",
      ["::"] = "ipv6",
      ["2001:db8::1"] = "ipv6",
      ["fe80::1%eth0"] = "name",
      ["192.0.2.01"] = "name",
      ["1.2.3"] = "name",
      ["example.com"] = "name",
    } do
      assert.equal(want, address.kind(host))
    end
  end)
end)
