-- The HTTP connector's request byte for byte, and what it makes of answers.

local helpers = require "spec.helpers"
local http = require "spec.helpers.http"
local stream = require "tidegate.native.stream"

describe("connector http", function()
  local near, far, result

  local function connect(md, auth, network, address)
    near, far = stream.pair()
    local connector = http.instance("connector", md, { auth = auth })
    result = helpers.spawn(connector.connect, connector, http.ctx(), near, network or "tcp",
      address or "example.com:443", nil)
  end

  local function finish()
    near:close()
    far:close()
  end

  local PLAIN = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n"
    .. "User-Agent: Go-http-client/1.1\r\nProxy-Connection: keep-alive\r\n\r\n"

  it("asks for a tunnel and keeps what follows the answer", helpers.task(function()
    connect()
    assert.equal(PLAIN, http.read_head(far))
    far:write("HTTP/1.1 200 Connection established\r\nX: y\r\n\r\nSSH-2.0")
    assert.equal(near, (result()))
    assert.equal("SSH-2.0", near:read())
    finish()
  end))

  it("shows credentials and configured fields, sorted", helpers.task(function()
    connect({ header = { ["x-b"] = "1", ["User-Agent"] = "moon", Accept = "*/*", ["proxy-authorization"] = "mine" } },
      { username = "user", password = "pass" })
    assert.equal("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n"
      .. "User-Agent: moon\r\nAccept: */*\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n"
      .. "Proxy-Connection: keep-alive\r\nX-B: 1\r\n\r\n", http.read_head(far))
    far:write("HTTP/1.0 200 OK\r\n\r\n")
    assert.equal(near, (result()))
    finish()
  end))

  it("asks for datagrams, to anywhere if need be", helpers.task(function()
    connect({}, nil, "udp", "")
    assert.equal("CONNECT  HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n"
      .. "Proxy-Connection: keep-alive\r\nX-Gost-Protocol: udp\r\n\r\n", http.read_head(far))
    far:write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert.equal(near, (result()))
    finish()
  end))

  it("takes an answer one byte at a time, interim ones skipped", helpers.task(function()
    connect()
    http.read_head(far)
    for byte in ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx"):gmatch "." do
      far:write(byte)
      helpers.pass()
    end
    assert.equal(near, (result()))
    assert.equal("x", near:read())
    finish()
  end))

  for answer, code in pairs {
    ["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"] = "auth",
    ["HTTP/1.1 403 Forbidden\r\n\r\n"] = "blocked",
    ["HTTP/1.1 503 Service Unavailable\r\n\r\n"] = "refused",
    ["HTTP/1.1 201 Created\r\n\r\n"] = "protocol",
    ["SSH-2.0-x\r\n\r\n"] = "protocol",
    ["HTTP/1.1 200 OK"] = "eof",
  } do
    it(("says %s after %q"):format(code, answer), helpers.task(function()
      connect()
      http.read_head(far)
      far:write(answer)
      far:shutdown()
      local ok, err = result()
      assert.is_nil(ok)
      assert.equal(code, err.code)
      local status = answer:match("^HTTP/1.1 (%d%d%d .-)\r\n")
      if status then
        assert.is_truthy(tostring(err):find(status, 1, true), tostring(err))
      end
      finish()
    end))
  end

  it("gives a silent proxy its time and no more", helpers.task(function()
    connect { timeout = "30ms" }
    local ok, err = result()
    assert.is_nil(ok)
    assert.equal("timeout", err.code)
    finish()
  end))

  it("refuses an address that would end the line", helpers.task(function()
    connect({}, nil, "tcp", "x HTTP/1.1\r\nA: b:80")
    local _, err = result()
    assert.equal("invalid", err.code)
    finish()
  end))
end)
