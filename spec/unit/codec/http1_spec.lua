local codec = require "tidegate.native.codec"
local http1 = require "tidegate.native.http1"

local function decode(decoder, bytes)
  local used, head = codec.decode(decoder, bytes)
  assert.equal(#bytes, used)
  return head
end

local function request(fields)
  return decode(http1.request, "GET / HTTP/1.1\r\n" .. fields .. "\r\n")
end

describe("http1.request", function()
  it("tells what a CONNECT asks for", function()
    local head = decode(http1.request, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n"
      .. "User-Agent: curl\r\nProxy-Connection: Keep-Alive\r\n\r\n")
    assert.same({
      method = "CONNECT",
      target = "example.com:443",
      minor = 1,
      host = "example.com:443",
      persistent = true,
      fields = "Host: example.com:443\r\nUser-Agent: curl\r\nProxy-Connection: Keep-Alive\r\n",
    }, head)
  end)

  it("wants more before the end and refuses garbage at once", function()
    assert.equal(0, (codec.decode(http1.request, "GET / HTTP/1.1\r\nHost: a\r\n")))
    local used, err = codec.decode(http1.request, "\22\3\1")
    assert.is_nil(used)
    assert.equal("protocol", err.code)
  end)

  it("keeps framing and connection", function()
    local head = request("Content-Length: 5\r\nConnection: a\r\nConnection: close\r\nExpect: 100-continue\r\n")
    assert.equal(5, head.length)
    assert.equal("a, close", head.connection)
    assert.is_false(head.persistent)
    assert.is_true(head.expects)
    assert.equal(5, http1.request_framing(head))
    head = request("Transfer-Encoding: chunked\r\n")
    assert.equal("chunked", http1.request_framing(head))
    assert.equal(0, http1.request_framing(request("")))
  end)
end)

describe("http1.response", function()
  local function response(line, fields)
    return decode(http1.response, "HTTP/1.1 " .. line .. "\r\n" .. (fields or "") .. "\r\n")
  end

  it("tells status and framing", function()
    local head = response("200 Connection established")
    assert.equal(200, head.status)
    assert.equal("Connection established", head.reason)
    assert.equal(0, http1.response_framing(head, "CONNECT"))
    assert.equal("close", http1.response_framing(head, "GET"))
    assert.equal(0, http1.response_framing(head, "HEAD"))
    assert.equal(7, http1.response_framing(response("404", "Content-Length: 7\r\n"), "GET"))
    assert.equal("chunked",
      http1.response_framing(response("200 OK", "Transfer-Encoding: chunked\r\n"), "GET"))
    assert.equal(0, http1.response_framing(response("304 N", "Content-Length: 7\r\n"), "GET"))
  end)
end)

describe("the fields of a head", function()
  local head = request("Host: a\r\nX: 1\r\nx:  2 \r\nConnection: X-Gone, Host\r\nX-Gone: 3\r\nY:\r\n")

  it("are found by name", function()
    assert.equal("a", http1.get(head, "host"))
    assert.equal("1, 2", http1.get(head, "x"))
    assert.equal("", http1.get(head, "y"))
    assert.is_nil(http1.get(head, "z"))
    assert.equal("1, 2", http1.get(head.fields, "x"))
  end)

  it("are listed and mapped", function()
    assert.same({ { "Host", "a" }, { "X", "1" }, { "x", "2" }, { "Connection", "X-Gone, Host" },
      { "X-Gone", "3" }, { "Y", "" } }, http1.pairs(head))
    assert.same({ host = "a", x = "1", connection = "X-Gone, Host", ["x-gone"] = "3", y = "" },
      http1.map(head))
  end)

  it("are passed on without what ends here", function()
    assert.equal("Host: a\r\nX: 1\r\nx:  2 \r\nY:\r\n", http1.lines(head, { connection = true }))
    assert.equal("Host: a\r\nConnection: X-Gone, Host\r\nY:\r\n", http1.lines(head, { x = true }))
  end)

  it("hold lists", function()
    assert.is_true(http1.has_token("a, UPGRADE ,b", "upgrade"))
    assert.is_false(http1.has_token("upgraded", "upgrade"))
    assert.is_false(http1.has_token(nil, "upgrade"))
  end)
end)

describe("http1.encode", function()
  it("writes a head", function()
    assert.equal("HTTP/1.1 200 OK\r\nA: b\r\nN: 5\r\n\r\n",
      http1.encode("HTTP/1.1 200 OK", { { "A", "b" }, { "N", 5 } }))
    assert.equal("GET / HTTP/1.1\r\n\r\n", http1.encode("GET / HTTP/1.1", {}))
  end)

  it("refuses what would be more than a field", function()
    for _, case in ipairs {
      { "GET / HTTP/1.1\r\nX: y", {} }, { "", {} }, { "GET / HTTP/1.1", { { "A", "b\r\nC: d" } } },
      { "GET / HTTP/1.1", { { "A:", "b" } } }, { "GET / HTTP/1.1", { { "", "b" } } },
    } do
      local bytes, err = http1.encode(case[1], case[2])
      assert.is_nil(bytes)
      assert.equal("invalid", err.code)
    end
  end)
end)

describe("http1.split_target", function()
  local function split(...)
    local form, scheme, host, port, path = http1.split_target(...)
    return { form = form, scheme = scheme, host = host, port = port, path = path }
  end

  it("knows the four forms", function()
    assert.same({ form = "origin", path = "/a?b" }, split("GET", "/a?b"))
    assert.same({ form = "asterisk", path = "*" }, split("OPTIONS", "*"))
    assert.same({ form = "authority", host = "::1", port = 443 }, split("CONNECT", "[::1]:443"))
    assert.same({ form = "absolute", scheme = "http", host = "a", path = "/" }, split("GET", "HTTP://a"))
    assert.same({ form = "absolute", scheme = "http", host = "a", port = 8, path = "/?q" },
      split("GET", "http://u:p@a:8?q#f"))
    assert.same({ form = "absolute", scheme = "http", host = "a", path = "*" }, split("OPTIONS", "http://a"))
  end)

  it("refuses what is none of them", function()
    local form, err = http1.split_target("GET", "http://a:b/")
    assert.is_nil(form)
    assert.equal("protocol", err.code)
  end)
end)
