-- A whole tidegate that keeps responses: what it asks its origin again and what not.

local cjson = require "cjson"
local head = require "tidegate.net.http.head"
local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local LIMIT_MS = 20000

-- An origin whose answers `respond(request, n)` makes; counts.
local function origin(respond)
  local self = { asked = 0 }
  local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
  self.address = listener.address(fds[1])
  local acceptor = assert(listener.accept(fds[1], function(s)
    local request = head.request(s)
    if request then
      self.asked = self.asked + 1
      s:write(respond(request, self.asked))
    end
    s:close()
  end))
  function self.close()
    acceptor:close()
    listener.close_fd(fds[1])
  end
  return self
end

local function answer(fields, body, status)
  return ("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s"):format(status or "200 OK", fields or "", #body, body)
end

describe("the response cache", function()
  local folder, from, p

  before_each(function()
    folder = programs.folder()
  end)
  after_each(helpers.task(function()
    if from then
      from.close()
    end
    proxy.stop_all()
    programs.stop_all()
  end))

  local function start(respond, metadata, memory)
    from = origin(respond)
    p = proxy.start({ "-C", programs.file(folder, "c.yml", ([[
services:
- name: web
  addr: "127.0.0.1:0"
  cache: store
  recorders: [{name: out, record: recorder.service.handler}]
  handler: {type: http, metadata: {%s}}
caches: [{name: store, memory: {%s}}]
recorders: [{name: out, file: {path: "%s/records", sep: "\n"}}]
]]):format(metadata or "", memory or "ttl: 60s", folder)) }, { services = 1 })
  end

  local function records()
    local list = {}
    local file = io.open(folder .. "/records")
    for line in file and file:lines() or function() end do
      list[#list + 1] = cjson.decode(line)
    end
    if file then
      file:close()
    end
    return list
  end

  -- One request by a client of its own; it is over when it is recorded.  @return head, body
  local function fetch(method, path, fields, version)
    local before = #records()
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
    s:set_deadline(task.now() + LIMIT_MS)
    s:write(("%s http://%s%s HTTP/%s\r\nHost: %s\r\n%s\r\n"):format(method, from.address, path, version or "1.1",
      from.address, fields or ""))
    local response = assert(head.response(s))
    local framing = head.response_framing(response, method)
    local body = ""
    if framing == "chunked" then
      body = s:read_until("0\r\n\r\n", 65536)
    elseif framing == "close" then
      local bytes = s:read()
      while bytes do
        body, bytes = body .. bytes, s:read()
      end
    elseif framing > 0 then
      body = s:read_exact(framing)
    end
    s:close()
    helpers.eventually(function()
      return #records() > before
    end, "not recorded")
    return response, body
  end

  it("answers the second client by itself, and says so in the record", helpers.task(function()
    start(function(_, n) return answer("X-Mine: yes\r\n", "body " .. n) end)
    local _, first = fetch("GET", "/a")
    local response, second = fetch("GET", "/a")
    assert.equal("body 1", first)
    assert.equal("body 1", second)
    assert.equal(200, response.status)
    assert.equal("yes", head.get(response, "x-mine"))
    assert.equal(1, from.asked)
    fetch("GET", "/b") -- another URI
    assert.equal(2, from.asked)
    local list = records()
    assert.equal(3, #list)
    assert.same({ false, true, false }, { list[1].http.cached, list[2].http.cached, list[3].http.cached })
    assert.equal(200, list[2].http.statusCode)
    assert.equal("", list[2].dst)
  end))

  it("serves chunked and unframed bodies to any client", helpers.task(function()
    start(function(request)
      if request.target == "/chunked" then
        return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
      end
      return "HTTP/1.1 200 OK\r\n\r\nabcde"
    end)
    for _, path in ipairs { "/chunked", "/close" } do
      fetch("GET", path)
      for _, version in ipairs { "1.1", "1.0" } do
        local response, body = fetch("GET", path, "", version)
        assert.equal("abcde", body)
        assert.equal(5, response.length)
      end
    end
    assert.equal(2, from.asked)
  end))

  local STORED = "Cache-Control: max-age=5\r\n"
  for i, case in ipairs {
    { "GET", stored = true },
    { "HEAD", stored = true },
    { "POST", stored = false },
    { "OPTIONS", stored = false },
    { "GET", status = "201 Created", stored = true },
    { "GET", status = "301 Moved", stored = true },
    { "GET", status = "404 Not Found", stored = false },
    { "GET", status = "500 Oops", stored = false },
    { "GET", fields = STORED, stored = true },
    { "GET", fields = "Cache-Control: no-store\r\n", stored = false },
    { "GET", fields = "Cache-Control: max-age=9, Private\r\n", stored = false },
    { "GET", fields = "Set-Cookie: a=b\r\n", stored = false },
    { "GET", request = "Authorization: Basic x\r\n", stored = false },
    { "GET", request = "Range: bytes=0-1\r\n", stored = false },
    { "GET", request = "If-None-Match: x\r\n", stored = false },
    { "GET", metadata = "cache.unsafe: true", fields = "Cache-Control: no-store\r\nSet-Cookie: a=b\r\n",
      request = "Authorization: Basic x\r\n", stored = true },
    { "POST", metadata = "cache.methods: [POST]", stored = true },
    { "GET", metadata = "cache.methods: [POST]", stored = false },
    { "GET", metadata = "cache.maxBodyBytes: 40", stored = false },
    { "GET", metadata = "cache.maxBodyBytes: 400", stored = true },
    { "GET", memory = "maxBytes: 20", stored = false },
  } do
    it(("keeps what it should, case %d"):format(i), helpers.task(function()
      start(function(request)
        return answer(case.fields, request.method == "HEAD" and "" or "12345678", case.status)
      end, case.metadata, case.memory)
      fetch(case[1], "/x", case.request)
      fetch(case[1], "/x", case.request)
      assert.equal(case.stored and 1 or 2, from.asked)
    end))
  end

  it("gives packed responses only to who takes them", helpers.task(function()
    start(function() return answer("Content-Encoding: gzip\r\n", "packed") end)
    fetch("GET", "/x", "Accept-Encoding: gzip, br\r\n")
    fetch("GET", "/x", "Accept-Encoding: gzip\r\n")
    assert.equal(1, from.asked)
    fetch("GET", "/x")
    fetch("GET", "/x", "Accept-Encoding: br\r\n")
    assert.equal(3, from.asked)
  end))

  it("knows a time to live for each status", helpers.task(function()
    start(function(request)
      return answer("", "x", request.target == "/moved" and "301 Moved" or "200 OK")
    end, "cache.ttl: 60s, cache.status.301: 1ms")
    for _ = 1, 2 do
      fetch("GET", "/moved")
      fetch("GET", "/here")
      task.sleep(0.01)
    end
    assert.equal(3, from.asked)
  end))

  it("serves an old response when the origin fails, if it may", helpers.task(function()
    start(function() return answer("", "old") end, "cache.ttl: 1ms, cache.serveStale: true")
    fetch("GET", "/x")
    task.sleep(0.01)
    from.close()
    local address = from.address
    from = { address = address, asked = 0, close = function() end }
    local response, body = fetch("GET", "/x")
    assert.equal(200, response.status)
    assert.equal("old", body)
    assert.equal(503, (fetch("GET", "/y")).status)
  end))

  it("does not serve an old response unasked", helpers.task(function()
    start(function() return answer("", "old") end, "cache.ttl: 1ms")
    fetch("GET", "/x")
    task.sleep(0.01)
    from.close()
    local address = from.address
    from = { address = address, asked = 0, close = function() end }
    assert.equal(503, (fetch("GET", "/x")).status)
  end))

  it("keeps a response cut short out", helpers.task(function()
    start(function()
      return "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
    end)
    for _ = 1, 2 do
      local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
      s:set_deadline(task.now() + LIMIT_MS)
      s:write(("GET http://%s/x HTTP/1.1\r\nHost: h\r\n\r\n"):format(from.address))
      head.response(s)
      s:read_exact(100)
      s:close()
    end
    assert.equal(2, from.asked)
  end))

  it("is not fooled by a hidden target", helpers.task(function()
    start(function(request) return answer("", "from " .. (request.host or "")) end)
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
    s:set_deadline(task.now() + LIMIT_MS)
    local name = require("tidegate.net.http.base64").encode_url(from.address)
    s:write(("GET http://victim.test/ HTTP/1.1\r\nHost: victim.test\r\nGost-Target: %s\r\n\r\n"):format(name))
    s:read()
    s:close()
    local other = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
    other:set_deadline(task.now() + LIMIT_MS)
    other:write("GET http://victim.test/ HTTP/1.1\r\nHost: victim.test\r\n\r\n")
    assert.equal(503, assert(head.response(other)).status)
    other:close()
  end))
end)
