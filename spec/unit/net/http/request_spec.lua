-- The HTTP client against servers of a few lines, over in-memory streams.

local helpers = require "spec.helpers"
local http = require "tidegate.net.http"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local function in_task(test)
  return helpers.task(function()
    test()
    http.close_idle()
  end)
end

-- A server that answers connection by connection, request by request: answers[connection][request].
-- A false answer closes the connection.  @return dial function, log { requests, connections }
local function server(answers)
  local log = { connections = 0 }
  local function serve(s, mine)
    for _, answer in ipairs(mine) do
      local request = s:read_until("\r\n\r\n", 65536)
      if not request then
        break
      end
      local length = tonumber(request:match "Content%-Length: (%d+)" or 0)
      log[#log + 1] = request .. (length > 0 and s:read_exact(length) or "")
      if not answer or not s:write(answer) then
        break
      end
    end
    if mine.hold then
      s:read()
    end
    s:close()
  end
  return function()
    log.connections = log.connections + 1
    local near, far = stream.pair()
    task.spawn(serve, far, answers[log.connections] or {})
    return near
  end, log
end

local function ask(answers, fields)
  local dial, log = server(answers)
  local request = { url = "http://example.com/path?q=1", dial = dial, timeout = 5 }
  for key, value in pairs(fields or {}) do
    request[key] = value
  end
  local response, err = http.request(request)
  return response, err, log
end

local function one(bytes, fields)
  return ask({ { bytes } }, fields)
end

describe("net.http", function()

  it("sends a request and takes the response apart", in_task(function()
    local response, err, log = one(
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Thing: a\r\nX-Thing: b\r\n\r\nhello",
      { method = "post", headers = { Accept = "x/y" }, body = "in", token = "t0" })
    assert.is_nil(err)
    assert.equal(200, response.status)
    assert.equal("hello", response.body)
    assert.equal("a", response.headers["X-THING"])
    assert.is_nil(response.headers.none)
    assert.equal("POST /path?q=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: tidegate\r\nAccept: x/y\r\n"
      .. "Authorization: Bearer t0\r\nContent-Length: 2\r\n\r\nin", log[1])
  end))

  it("reads bodies of every framing", in_task(function()
    assert.equal("abcdef", one("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. "3\r\nabc\r\n3;x=y\r\ndef\r\n0\r\nTrailer: x\r\n\r\n").body)
    assert.equal("to the end", one("HTTP/1.0 200 OK\r\n\r\nto the end").body)
    assert.equal("", one("HTTP/1.1 204 No Content\r\n\r\n").body)
    assert.equal("", one("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", { method = "HEAD" }).body)
    assert.equal("x", one("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n\r\n"
      .. "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").body)
  end))

  it("refuses what is malformed, too long or cut off", in_task(function()
    local cases = {
      { "garbage\r\n\r\n", "protocol" },
      { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "eof" },
      { "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", "limit" },
      { "HTTP/1.1 200 OK\r\n\r\n" .. ("x"):rep(200), "limit" },
      { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nC8\r\n" .. ("x"):rep(200), "limit" },
      { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "protocol" },
      { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "protocol" },
      { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "protocol" },
      { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n\r\n", "protocol" },
      { ("HTTP/1.1 100 Continue\r\n\r\n"):rep(40), "limit" },
      { "HTTP/1.1 101 Switching\r\n\r\n", "protocol" },
      { "HTTP/1.1 200 OK\r\nX: " .. ("x"):rep(70000), "limit" },
      { "", "eof" },
    }
    for i, case in ipairs(cases) do
      local response, err = one(case[1], { limit = 100 })
      assert.is_nil(response, i)
      assert.equal(case[2], err.code, i)
      assert.truthy(tostring(err):find("example.com", 1, true))
    end
  end))

  it("gives up at its deadline, wherever it hangs", in_task(function()
    for _, answer in ipairs { "", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab" } do
      local response, err = ask({ { answer, hold = true } }, { timeout = 0.05 })
      assert.is_nil(response)
      assert.equal("timeout", err.code)
    end
    local response, err = http.request { url = "http://example.com/", timeout = 0.05, dial = function()
      task.sleep(0.2)
      return (stream.pair())
    end }
    assert.is_nil(response)
    assert.equal("timeout", err.code)
  end))

  it("does not send what could be read as more than a request", in_task(function()
    local cases = {
      { headers = { ["a b"] = "x" } }, { headers = { a = "x\r\nb: y" } }, { headers = { ["Content-Length"] = "1" } },
      { method = "GET /" }, { method = "CONNECT" }, { body = {} }, { token = "a\r\nb: c" }, { url = "http://a/ b" },
      { url = "ftp://a/" }, { chain = "c" },
    }
    for i, fields in ipairs(cases) do
      fields.dial = not fields.chain and fields.dial or nil
      local dial = fields.chain and {} or nil
      local response, err
      if dial then
        response, err = http.request { url = "http://a/", chain = "c" }
      else
        response, err = one("HTTP/1.1 204 x\r\n\r\n", fields)
      end
      assert.is_nil(response, i)
      assert.truthy(err.code == "invalid" or err.code == "unsupported", i)
    end
  end))

  it("follows redirects only when asked to, and not with secrets", in_task(function()
    local moved = "HTTP/1.1 302 Found\r\nLocation: http://other.test/x\r\nContent-Length: 0\r\n\r\n"
    assert.equal(302, one(moved).status)
    local response, _, log = ask({ { moved }, { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" } },
      { redirects = 1, token = "t", headers = { Cookie = "c", Other = "o" } })
    assert.equal(200, response.status)
    assert.truthy(log[1]:find("Bearer t", 1, true) and log[1]:find("Cookie: c", 1, true))
    assert.is_nil(log[2]:find("Bearer", 1, true) or log[2]:find("Cookie", 1, true))
    assert.truthy(log[2]:find("Other: o", 1, true) and log[2]:find("Host: other.test", 1, true))
    local _, err = ask({ { moved }, { moved }, { moved } }, { redirects = 2 })
    assert.equal("protocol", err.code)
  end))
end)

describe("net.http's kept connections", function()
  local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  -- A registry whose chains lead to the server.
  local function through(answers)
    local dial, log = server(answers)
    return { connect = function(_, _, address, options)
      log.address, log.chain = address, options.chain
      return dial()
    end }, log
  end

  local function get(registry, fields)
    local request = { url = "http://[::1]:81/", registry = registry, chain = "c", timeout = 5 }
    for key, value in pairs(fields or {}) do
      request[key] = value
    end
    return http.request(request)
  end

  it("are used again, through the same chain only", in_task(function()
    local registry, log = through { { OK, OK, hold = true }, { OK, hold = true }, { OK, hold = true } }
    assert.equal("ok", get(registry).body)
    assert.equal("ok", get(registry).body)
    assert.equal(1, log.connections)
    assert.equal("[::1]:81", log.address)
    assert.equal("ok", get(registry, { chain = "d" }).body)
    assert.equal(2, log.connections)
    assert.equal("d", log.chain)
    assert.equal("ok", get(registry, { url = "http://[::1]:82/" }).body)
    assert.equal(3, log.connections)
  end))

  it("are not kept when the server closes", in_task(function()
    local closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    local registry, log = through { { closing, hold = true }, { OK, hold = true } }
    get(registry)
    assert.equal("ok", get(registry).body)
    assert.equal(2, log.connections)
  end))

  it("that turn out dead are replaced once", in_task(function()
    local registry, log = through { { OK, false }, { OK, false } }
    get(registry)
    assert.equal("ok", get(registry).body)
    assert.equal(2, log.connections)
    assert.equal(3, #log)
    local response, err = get(registry)
    assert.is_nil(response)
    assert.truthy(err.code == "eof" or err.code == "reset")
    assert.equal(3, log.connections)
  end))

  it("that turn out dead do not repeat what must not be repeated", in_task(function()
    local registry, log = through { { OK, false }, { OK } }
    get(registry)
    local response = get(registry, { method = "POST", body = "x" })
    assert.is_nil(response)
    assert.equal(1, log.connections)
    http.close_idle()
    registry, log = through { { OK, false }, { OK } }
    get(registry)
    assert.equal("ok", get(registry, { method = "POST", body = "x", repeatable = true }).body)
    assert.equal(2, log.connections)
  end))

  it("with something unasked in them are dropped", in_task(function()
    local registry, log = through { { OK .. "HTTP/1.1 200 OK\r\n\r\n", hold = true }, { OK, hold = true } }
    get(registry)
    assert.equal("ok", get(registry).body)
    assert.equal(2, log.connections)
  end))
end)
