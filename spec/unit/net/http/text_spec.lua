-- Small texts of HTTP: base64, hidden names, URLs.

local base64 = require "tidegate.net.http.base64"
local name = require "tidegate.net.http.name"
local url = require "tidegate.net.http.url"

describe("base64", function()
  local vectors = { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==",
    fooba = "Zm9vYmE=", foobar = "Zm9vYmFy", ["\251\255\254"] = "+//+" }

  it("follows the vectors of RFC 4648", function()
    for bytes, text in pairs(vectors) do
      assert.equal(text, base64.encode(bytes))
      assert.equal(bytes, base64.decode(text))
    end
    assert.equal("-__-", base64.encode_url("\251\255\254"))
    assert.equal("\251\255\254", base64.decode_url("-__-"))
  end)

  it("refuses what is none", function()
    for _, text in ipairs { "Zg", "Zg=", "Z===", "====", "Zm9v\n", "Zm 9", "Z", "-__-", "=Zg=" } do
      assert.is_nil(base64.decode(text), text)
    end
  end)

  it("returns every byte", function()
    local all = {}
    for i = 0, 255 do
      all[i + 1] = string.char(i)
    end
    local bytes = table.concat(all)
    for cut = 0, 3 do
      local part = bytes:sub(1, #bytes - cut)
      assert.equal(part, base64.decode(base64.encode(part)))
      assert.equal(part, base64.decode_url(base64.encode_url(part)))
    end
  end)
end)

describe("hidden names", function()
  it("are written as gost writes them", function()
    assert.equal("tvpOuVpYaGhiWEJzWlM1amIyMA", name.encode "example.com")
    assert.equal("example.com", name.decode "tvpOuVpYaGhiWEJzWlM1amIyMA")
  end)

  it("need the right checksum", function()
    for _, text in ipairs { "", "AAAA", "uvpOuVpYaGhiWEJzWlM1amIyMA", "example.com", "!!!!" } do
      assert.is_nil(name.decode(text), text)
    end
  end)
end)

describe("URLs", function()
  it("come apart", function()
    local u = url.parse "HTTP://us%40er:p%3Aw@[::1]:81/a?b#c"
    assert.same({ "http", "::1", 81, "[::1]:81", "/a?b", "us@er", "p:w" },
      { u.scheme, u.host, u.port, u.authority, u.path, u.user, u.password })
    u = url.parse "https://example.com?x"
    assert.same({ "https", "example.com", 443, "/?x" }, { u.scheme, u.host, u.port, u.path })
  end)

  it("are refused when they make no sense", function()
    for _, text in ipairs { "", "ftp://x/", "http://", "http://a b/", "http://x:99999/",
      "http://a:b:c/", "//x/", "http://x/\r\nA: b" } do
      local u, err = url.parse(text)
      assert.is_nil(u, text)
      assert.equal("invalid", err.code)
    end
  end)

  it("lead on", function()
    local base = url.parse "http://x:81/a/b?c"
    for location, wanted in pairs {
      ["https://y/z"] = "https://y/z",
      ["//y/z"] = "http://y/z",
      ["/z"] = "http://x:81/z",
      ["z"] = "http://x:81/a/z",
      ["?z"] = "http://x:81/a/b?z",
    } do
      assert.equal(wanted, url.resolve(base, location))
    end
  end)
end)
