local addr = require "tidegate.net.addr"

describe("net.addr", function()
  for text, parts in pairs {
    ["1.2.3.4:80"] = { "1.2.3.4", 80 },
    ["[::1]:443"] = { "::1", 443 },
    ["example.com:65535"] = { "example.com", 65535 },
    [":8080"] = { "", 8080 },
    ["::1"] = { "::1" },
    ["[::1]"] = { "::1" },
    ["host"] = { "host" },
    ["host:"] = { "host" },
    ["/run/x.sock"] = { "/run/x.sock" },
    ["host:name"] = { "host:name" },
    ["[host]:80"] = { "host", 80 },
    ["[::1]:"] = { "::1" },
    ["[]:80"] = { "", 80 },
    ["[]"] = { "" },
    ["["] = { "[" },
    ["[:80"] = { "[:80" },
    ["a:b:80"] = { "a:b:80" },
    ["a]:80"] = { "a]:80" },
    ["host:99999"] = { "host", 99999 },
    ["80"] = { "80" },
    [":"] = { "" },
    [""] = { "" },
  } do
    it("splits " .. text, function()
      assert.same(parts, { addr.split(text) })
    end)
  end

  it("joins, with brackets where they belong", function()
    assert.same("example.com:80", addr.join("example.com", 80))
    assert.same("[::1]:80", addr.join("::1", 80))
    assert.same("h:1", addr.with_port("h:1", 2))
    assert.same("h:2", addr.with_port("h", 2))
  end)

  it("tells families", function()
    assert.same(4, addr.family "127.0.0.1")
    assert.same(6, addr.family "fe80::1%eth0")
    for _, text in ipairs { "", "1.2.3", "256.1.1.1", "example.com", "1.2.3.4:80", "[::1]", ":::1" } do
      assert.is_nil(addr.family(text), text)
    end
  end)

  it("takes addresses to bytes", function()
    assert.same("\127\0\0\1", addr.bytes "127.0.0.1")
    assert.same("\127\0\0\1", addr.bytes "::ffff:127.0.0.1")
    assert.same(("\0"):rep(15) .. "\1", addr.bytes "::1%lo")
    for _, text in ipairs { "", "::1%", "%lo", "::1%a b", "01.2.3.4", "localhost" } do
      assert.is_nil(addr.bytes(text), text)
    end
  end)

  it("finds addresses in sets of IPs and networks", function()
    local inside = addr.ip_set { "10.0.0.0/8", " 192.168.1.1 ", "2001:db8::/33", "nonsense", "1.2.3.4/99" }
    for _, ip in ipairs { "10.255.0.1", "192.168.1.1", "2001:db8:7fff::1", "::ffff:10.0.0.1" } do
      assert.is_true(inside(ip), ip)
    end
    for _, ip in ipairs { "11.0.0.1", "192.168.1.2", "2001:db8:8000::1", "1.2.3.4", "nonsense", "" } do
      assert.is_false(inside(ip), ip)
    end
  end)
end)
