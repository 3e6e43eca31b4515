-- A forwarder whose targets speak HTTP/2: what goes along, what is shared, and targets that misbehave.

local h2 = require "tidegate.native.h2"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "spec.helpers.tls"

local LIMIT_MS = 20000
local V2 = { ["http.version"] = "2" }

-- A target: `serve(stream, header, session)` runs for each request.
-- @return its address, the sessions that were opened to it
local function target(serve, options)
  local sessions = {}
  return plane.accept(function(s)
    local session = h2.start(s, options or {})
    sessions[#sessions + 1] = session
    while true do
      local one = session:accept()
      if not one then
        return session:close()
      end
      task.spawn(function()
        one:set_deadline(task.now() + LIMIT_MS)
        serve(one, assert(h2.headers(one)), session)
      end)
    end
  end), sessions
end

-- A service whose forwarder has this node.
local function forwarder(node, more)
  local config = more or {}
  config.services = { {
    name = "s", addr = ":0", handler = { type = "tcp", metadata = { sniffing = true, ["http.keepalive"] = true } },
    listener = { type = "tcp" }, forwarder = { nodes = { node } },
  } }
  local built, problems = plane.build(config)
  assert.same({}, problems)
  return built.s
end

local function node(address, md, http)
  return { name = "far", addr = address, metadata = md, http = http }
end

local function client(service)
  return h2.start(plane.client(service), { client = true })
end

local function ask(session, fields, ended)
  local all = { ":method", "GET", ":scheme", "http", ":authority", "site.example", ":path", "/" }
  local others = {}
  for name, value in pairs(fields or {}) do
    local known = table.concat(all, "\n"):find("\n?" .. name .. "\n")
    local list = (known or name:find "^:") and all or others
    local at = #list + 1
    for i = 1, known and #all or 0, 2 do
      at = all[i] == name and i or at
    end
    list[at], list[at + 1] = name, value
  end
  for _, text in ipairs(others) do
    all[#all + 1] = text
  end
  local s = assert(session:request(all, ended ~= false))
  s:set_deadline(task.now() + LIMIT_MS)
  return s
end

local function all_of(s)
  local parts = {}
  while true do
    local piece, err = s:read()
    if not piece then
      return table.concat(parts), err
    end
    parts[#parts + 1] = piece
  end
end

-- @return status, body, header, why the body ended
local function answer(s)
  local header, err = h2.headers(s)
  if not header then
    return nil, err
  end
  local body, why = all_of(s)
  return header[":status"], body, header, why
end

local function echo(s, header)
  h2.respond(s, { ":status", "200", "x-path", header[":path"], "x-te", header.te or "none" })
  local body = all_of(s)
  s:write(body)
  local trailers = h2.trailers(s)
  h2.finish(s, { "x-sum", tostring(#body), "x-got", trailers and trailers["x-client"] or "none" })
  s:close()
end

local function over_http1(service, request)
  local s = plane.client(service)
  s:set_deadline(task.now() + LIMIT_MS)
  assert(s:write(request))
  local text = all_of(s)
  s:close()
  return text
end

describe("target that speaks HTTP/2", function()
  local done = helpers.task(plane.cleanup)
  after_each(function()
    done()
    helpers.task(programs.stop_all)()
  end)

  it("gets bodies and trailers, and gives them back", helpers.task(function()
    local address = target(echo)
    local c = client(forwarder(node(address)))
    local s = ask(c, { [":method"] = "POST", te = "trailers", [":path"] = "/a?b" }, false)
    s:write "hel"
    s:write "lo"
    h2.finish(s, { "x-client", "bye" })
    local status, body, header = answer(s)
    assert.same({ "200", "hello", "/a?b", "trailers" }, { status, body, header["x-path"], header["x-te"] })
    assert.same({ "5", "bye" }, { h2.trailers(s)["x-sum"], h2.trailers(s)["x-got"] })
    s:close()
    c:close()
    plane.cleanup()
  end))

  it("serves clients of HTTP/1.1 as well when it is told so, trailers included", helpers.task(function()
    local service = forwarder(node((target(echo)), V2))
    local said = over_http1(service, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
      .. "Trailer: x-client\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Client: one\r\n\r\n"
      .. "GET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert.match("^HTTP/1.1 200 OK\r\n", said)
    assert.match("hello\r\n0\r\nx-sum: 5\r\nx-got: one\r\n\r\nHTTP/1.1 200 OK\r\n", said, 1, true)
    assert.match("x-path: /y\r\n", said, 1, true)
    plane.cleanup()
  end))

  it("is reached over one connection by many requests, and a second one where it allows few", helpers.task(function()
    for most, connections in pairs { [100] = 1, [2] = 3 } do
      local waiting, go_on = 0, task.waiter()
      local address, sessions = target(function(s)
        waiting = waiting + 1
        helpers.eventually(function()
          return waiting >= 6
        end)
        h2.respond(s, { ":status", "204" }, true)
        s:close()
      end, { max_streams = most })
      local service = forwarder(node(address))
      local first = client(service)
      local others = { first, client(service) }
      local asked = {}
      for i = 1, 6 do
        asked[i] = ask(others[i % 2 + 1])
      end
      for i = 1, 6 do
        assert.equal("204", (answer(asked[i])))
        asked[i]:close()
      end
      assert.equal(connections, #sessions)
      first:close()
      others[2]:close()
      go_on:wake()
      plane.cleanup()
    end
  end))

  it("may send interim answers, and answers without a body", helpers.task(function()
    local plain
    local address = target(function(s, header)
      if header[":path"] == "/hints" then
        h2.inform(s, { ":status", "103", "link", "</a.css>" })
        h2.respond(s, { ":status", "200", "content-length", "2" })
        s:write "ok"
        s:shutdown()
      elseif header[":method"] == "HEAD" then
        h2.respond(s, { ":status", "200", "content-length", "77" }, true)
      else
        h2.respond(s, { ":status", header[":path"]:sub(2), "x-said", "yes" }, true)
      end
      s:close()
    end)
    local service = forwarder(node(address, V2))
    plain = over_http1(service, "GET /hints HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert.match("^HTTP/1.1 103 [^\r]*\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n.*ok$", plain)
    local c = client(service)
    for _, case in ipairs { { "GET", "/204", "204" }, { "GET", "/304", "304" }, { "GET", "/500", "500" },
      { "HEAD", "/x", "200", "77" }, { "GET", "/hints", "200", "2" } } do
      local s = ask(c, { [":method"] = case[1], [":path"] = case[2] })
      local status, _, header = answer(s)
      assert.same({ case[3], case[4] }, { status, case[4] and header["content-length"] })
      s:close()
    end
    c:close()
    plane.cleanup()
  end))

  it("hears of clients that take their requests back", helpers.task(function()
    local asked, gone = 0, 0
    local address = target(function(s, header)
      if header[":path"] == "/begun" then
        h2.respond(s, { ":status", "200" })
        s:write "begun"
      end
      asked = asked + 1
      local _, err
      repeat
        _, err = s:read()
      until err
      if header[":path"] == "/mute" then -- whose request has ended
        helpers.eventually(function()
          return not h2.inform(s, { ":status", "102" })
        end)
      end
      gone = gone + 1
      s:close()
    end)
    local c = client(forwarder(node(address)))
    for i, path in ipairs { "/begun", "/silent", "/mute" } do
      local s = ask(c, { [":method"] = "POST", [":path"] = path }, path == "/mute")
      if path == "/begun" then
        assert.equal("200", h2.headers(s)[":status"])
        assert.equal("begun", s:read_exact(5))
      end
      helpers.eventually(function()
        return asked == i
      end)
      assert.equal(i - 1, gone)
      h2.reset(s, 8)
      s:close()
      helpers.eventually(function()
        return gone == i
      end)
    end
    c:close()
    plane.cleanup()
  end))

  it("breaks an answer off, which clients do not take for a whole one", helpers.task(function()
    local address = target(function(s)
      h2.respond(s, { ":status", "200" })
      s:write "half"
      helpers.pass()
      h2.reset(s, 2)
      s:close()
    end)
    local service = forwarder(node(address, V2))
    local c = client(service)
    local s = ask(c)
    local status, body, _, why = answer(s)
    assert.same({ "200", "half" }, { status, body })
    assert.equal("reset", why.code)
    s:close()
    c:close()
    assert.not_match("\r\n0\r\n\r\n$", over_http1(service, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    plane.cleanup()
  end))

  it("refuses a request, which is asked again with its body", helpers.task(function()
    local tries = 0
    local address, sessions = target(function(s, header)
      tries = tries + 1
      if tries == 1 then
        s:read(3)
        h2.reset(s, 7)
        return s:close()
      end
      echo(s, header)
    end)
    local c = client(forwarder(node(address)))
    local s = ask(c, { [":method"] = "POST" }, false)
    s:write "a body that "
    helpers.eventually(function()
      return tries == 2
    end)
    s:write "goes on"
    s:shutdown()
    local status, body = answer(s)
    assert.same({ "200", "a body that goes on", 2 }, { status, body, #sessions })
    s:close()
    c:close()
    plane.cleanup()
  end))

  it("says goodbye: what it has taken is answered, what comes is asked elsewhere", helpers.task(function()
    local release = task.waiter()
    local address, sessions = target(function(s, header, session)
      if header[":path"] == "/last" then
        session:drain()
        release:wait(task.now() + LIMIT_MS)
      end
      h2.respond(s, { ":status", "200", "content-length", "2" })
      s:write "ok"
      s:shutdown()
      s:close()
    end)
    local c = client(forwarder(node(address)))
    local last = ask(c, { [":path"] = "/last" })
    helpers.eventually(function()
      return sessions[1] and not sessions[1]:is_alive()
    end)
    helpers.pass()
    local next_one = ask(c)
    assert.equal("200", (answer(next_one)))
    assert.equal(2, #sessions)
    release:wake()
    assert.equal("200", (answer(last)))
    last:close()
    next_one:close()
    c:close()
    plane.cleanup()
  end))

  it("is held back by a client that does not read", helpers.task(function()
    local written, over = 0, false
    local address = target(function(s)
      h2.respond(s, { ":status", "200" })
      s:set_deadline(nil)
      local piece = ("x"):rep(65536)
      while written < 100000000 and s:write(piece) do
        written = written + #piece
      end
      over = true
      s:close()
    end)
    local c = client(forwarder(node(address)))
    local s = ask(c)
    assert.equal("200", h2.headers(s)[":status"])
    local before = -1
    helpers.eventually(function()
      local still = written == before
      before = written
      task.sleep(0.05)
      return still and written > 0
    end)
    assert.is_false(over)
    assert.is_true(written < 16000000)
    s:close()
    helpers.eventually(function()
      return over
    end)
    c:close()
    plane.cleanup()
  end))

  it("is asked once more in HTTP/1.1 when it does not understand", helpers.task(function()
    local seen = {}
    local address = plane.accept(function(s)
      s:set_deadline(task.now() + LIMIT_MS)
      while true do
        local head = s:read_until("\r\n\r\n", 65536)
        if not head then
          return s:close()
        end
        seen[#seen + 1] = head:match "^[^\r]*"
        if head:find "^PRI" then
          s:write "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
          return s:close()
        end
        s:write "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: yes\r\n\r\n"
      end
    end)
    local c = client(forwarder(node(address)))
    for _ = 1, 2 do
      local s = ask(c)
      local status, body = answer(s)
      assert.same({ "200", "ok", "yes" }, { status, body, h2.trailers(s)["x-late"] })
      s:close()
    end
    assert.same({ "PRI * HTTP/2.0", "GET / HTTP/1.1", "GET / HTTP/1.1" }, seen)
    c:close()
    plane.cleanup()
  end))

  it("agrees on HTTP/2 by TLS, or on HTTP/1.1", helpers.task(function()
    local files = tls.certificate(tls.authority "X", "far.example")
    for _, protocol in ipairs { "h2", "http/1.1" } do
      local context = tls.server_context { certificates = { files }, alpn = { protocol } }
      local address = plane.accept(function(s)
        local upper = require("tidegate.native.tls").server(s, context, task.now() + LIMIT_MS)
        if upper and protocol == "h2" then
          local session = h2.start(upper, {})
          local one = session:accept(task.now() + LIMIT_MS)
          if one then
            h2.respond(one, { ":status", "200", "x-by", h2.headers(one)[":scheme"] }, true)
            one:close()
          end
          session:accept(task.now() + LIMIT_MS)
          session:close()
        elseif upper then
          upper:read_until("\r\n\r\n", 65536)
          upper:write "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-by: http/1.1\r\n\r\n"
          upper:read()
          upper:close()
        end
      end)
      local one = node(address)
      one.tls = { secure = false, serverName = "far.example" }
      local c = client(forwarder(one))
      local s = ask(c)
      local status, _, header = answer(s)
      assert.same({ "200", protocol == "h2" and "https" or "http/1.1" }, { status, header["x-by"] })
      s:close()
      c:close()
      plane.cleanup()
    end
  end))

  it("is told what the target's settings change, and no more", helpers.task(function()
    local got
    local address = target(function(s, header)
      got = header
      h2.respond(s, { ":status", "200", "content-type", "text/html", "server", "inside" })
      s:write "inside"
      s:shutdown()
      s:close()
    end)
    local c = client(forwarder(node(address, nil, {
      host = "other.example", requestHeader = { ["X-A"] = "1", Cookie = "" }, responseHeader = { Server = "" },
      rewriteURL = { { match = "^/old", replacement = "/new" } }, auth = { username = "u", password = "p" },
      rewriteResponseBody = { { match = "in", replacement = "out" } },
    })))
    local s = ask(c)
    assert.equal("401", (answer(s)))
    s:close()
    s = ask(c, { authorization = "Basic dTpw", [":path"] = "/old/x", cookie = "a=b" })
    local status, body, header = answer(s)
    assert.same({ "200", "outside" }, { status, body })
    assert.same({ "other.example", "/new/x", "1" }, { got[":authority"], got[":path"], got["x-a"] })
    assert.is_nil(got.cookie)
    assert.is_nil(header.server)
    s:close()
    c:close()
    plane.cleanup()
  end))

  -- WebSockets: ours in HTTP/2 towards targets of either version, and the other way round.
  local function websocket_target(version)
    if version == "h2" then
      return (target(function(s, header)
        assert.same({ "CONNECT", "websocket", "/ws" }, { header[":method"], header[":protocol"], header[":path"] })
        h2.respond(s, { ":status", "200", "sec-websocket-protocol", "chat" })
        s:write(s:read_exact(4))
        s:read()
        s:close()
      end, { connect_protocol = true }))
    end
    return plane.accept(function(s)
      s:set_deadline(task.now() + LIMIT_MS)
      local head = s:read_until("\r\n\r\n", 65536)
      if head:find "^PRI" then
        return s:close()
      end
      assert.match("^GET /ws HTTP/1.1\r\n", head)
      assert.match("\r\n[Ss]ec%-[Ww]eb[Ss]ocket%-[Kk]ey: %S+==\r\n", head)
      s:write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        .. "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
      s:write(s:read_exact(4))
      s:read()
      s:close()
    end)
  end

  for _, version in ipairs { "h2", "http/1.1" } do
    it("takes WebSockets of both versions in " .. version, helpers.task(function()
      local service = forwarder(node(websocket_target(version), version == "h2" and V2 or nil))
      local c = client(service)
      helpers.eventually(function()
        return c:takes_websockets()
      end)
      local s = ask(c, { [":method"] = "CONNECT", [":protocol"] = "websocket", [":path"] = "/ws",
        ["sec-websocket-version"] = "13" }, false)
      local header = assert(h2.headers(s))
      assert.same({ "200", "chat" }, { header[":status"], header["sec-websocket-protocol"] })
      assert.is_nil(header["sec-websocket-accept"])
      s:write "ping"
      assert.equal("ping", s:read_exact(4))
      s:close()
      c:close()
      local old = plane.client(service)
      old:set_deadline(task.now() + LIMIT_MS)
      old:write("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
      local head = assert(old:read_until("\r\n\r\n", 65536))
      assert.match("^HTTP/1.1 101 Switching Protocols\r\n", head)
      assert.match("[Ss]ec%-[Ww]eb[Ss]ocket%-[Aa]ccept: s3pPLMBiTxaQ9kYGzzhZRbK%+xOo=\r\n", head)
      old:write "pong"
      assert.equal("pong", old:read_exact(4))
      old:close()
      plane.cleanup()
    end))
  end

  -- Targets that misbehave ------------------------------------------------------------------------

  local function frame(kind, flags, id, payload)
    return string.char(math.floor(#payload / 65536), math.floor(#payload / 256) % 256, #payload % 256, kind, flags,
      0, 0, math.floor(id / 256), id % 256) .. payload
  end
  local SETTINGS = frame(4, 0, 0, "")
  local OK = "\136" -- :status 200 of HPACK's static table

  -- name, what the target sends once it was asked, what the log says
  for _, case in ipairs {
    { "garbage", ("nonsense"):rep(100), "" },
    { "an endless header", frame(1, 0, 1, OK .. "\0\1a\127\201\15" .. ("x"):rep(1600))
      .. frame(9, 0, 1, ("x"):rep(16000)):rep(200), "" },
    { "a header that is too long", frame(1, 0, 1, OK) .. (frame(9, 0, 1, "\0\1a\127\225\124"
      .. ("x"):rep(16096))):rep(8) .. frame(9, 4, 1, ""), "" },
    { "a flood of PINGs", frame(6, 0, 0, "12345678"):rep(20000), "" },
    { "a flood of SETTINGS", frame(4, 0, 0, "\0\3\0\0\0\9"):rep(20000), "" },
    { "a flood of interim answers", frame(1, 4, 1, "\8\3" .. "103"):rep(20000), "" },
    { "a flood of empty DATA before the header", frame(0, 0, 1, ""):rep(20000), "" },
    { "a header without a status", frame(1, 5, 1, "\0\1a\1b"), "" },
    { "a push nobody asked for", frame(5, 4, 1, "\0\0\0\2\130\132\134\65\1a"), "" },
    { "an answer on another stream", frame(1, 5, 7, OK), "" },
    { "the end of the connection", "", "" },
    { "a reset", frame(3, 0, 1, "\0\0\0\2"), "" },
    { "a goodbye for good", frame(7, 0, 0, "\0\0\0\0\0\0\0\11enough"), "" },
  } do
    it("sends " .. case[1] .. ": the client gets 502, the log names it", helpers.task(function()
      local address = plane.accept(function(s)
        s:set_deadline(task.now() + LIMIT_MS)
        s:write(SETTINGS)
        s:peek(100) -- preface, SETTINGS and most of the request
        s:write(case[2])
        task.sleep(0.02)
        s:close()
      end)
      local folder = programs.folder()
      local service = forwarder(node(address, V2), { log = { output = folder .. "/log", level = "debug" } })
      local c = client(service)
      local s = ask(c, { [":method"] = "POST" })
      assert.equal("502", (answer(s)))
      s:close()
      c:close()
      require("tidegate.process.log").flush()
      local log = assert(io.open(folder .. "/log")):read "*a"
      assert.match("far " .. address, log, 1, true)
      plane.cleanup()
    end))
  end

  it("never answers: the client's patience counts, and that of HTTP/1.1 ends", helpers.task(function()
    local asked = 0
    local address = target(function(s)
      asked = asked + 1
      s:set_deadline(task.now() + 20000)
      s:read(1) -- its end
      s:read(1)
      task.sleep(0.6)
      s:close()
    end)
    local config = node(address, V2)
    local service = forwarder(config)
    service.handler.sniffer.md.readTimeout = 0.2
    assert.match("^HTTP/1.1 502 Bad Gateway\r\n", over_http1(service, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    local c = client(service)
    local s = ask(c)
    s:set_deadline(task.now() + 400)
    local none, err = h2.headers(s)
    assert.is_nil(none)
    assert.equal("timeout", err.code)
    s:close()
    c:close()
    assert.equal(2, asked)
    plane.cleanup()
  end))

  it("is not confused by two who share it when one goes", helpers.task(function()
    local address, sessions = target(function(s)
      h2.respond(s, { ":status", "200", "content-length", "3000000" })
      local piece = ("y"):rep(30000)
      for _ = 1, 100 do
        if not s:write(piece) then
          break
        end
      end
      s:close()
    end)
    local service = forwarder(node(address))
    local a, b = client(service), client(service)
    local one, two = ask(a), ask(b)
    assert(h2.headers(one))
    a:close()
    local status, body = answer(two)
    assert.same({ "200", 3000000, 1 }, { status, #body, #sessions })
    one:close()
    two:close()
    b:close()
    plane.cleanup()
  end))

  it("is not reset for saying late that a whole answer was all", helpers.task(function()
    local ended = {}
    local address = target(function(s)
      h2.respond(s, { ":status", "200", "content-length", "2" })
      s:write "ok"
      s:read()
      task.sleep(0.05)
      ended[#ended + 1] = h2.finish(s, { "x-late", "yes" }) and "well" or "reset"
      s:close()
    end)
    local c = client(forwarder(node(address)))
    for i = 1, 2 do
      local s = ask(c)
      assert.equal("200", h2.headers(s)[":status"])
      assert.equal("ok", all_of(s))
      s:close()
      helpers.eventually(function()
        return #ended == i
      end)
    end
    assert.same({ "well", "well" }, ended)
    c:close()
    plane.cleanup()
  end))

  it("is asked in HTTP/2 again when it comes back", helpers.task(function()
    local mode, asked = "up", {}
    local address = plane.accept(function(s)
      s:set_deadline(task.now() + LIMIT_MS)
      if mode == "down" then
        asked[#asked + 1] = (s:peek(3) or ""):sub(1, 3)
        return s:close()
      end
      local session = h2.start(s, {})
      local one = session:accept(task.now() + LIMIT_MS)
      h2.respond(one, { ":status", "200" }, true)
      one:close()
      task.sleep(0.02)
      session:close()
    end)
    local c = client(forwarder(node(address)))
    for i, word in ipairs { "up", "down", "up" } do
      mode = word
      local s = ask(c)
      assert.equal(word == "up" and "200" or "503", (answer(s)), i)
      s:close()
      task.sleep(0.05)
    end
    assert.same({ "PRI" }, asked)
    c:close()
    plane.cleanup()
  end))

  it("closes what has been idle", helpers.task(function()
    local pool = require("tidegate.net.http.sessions").new { idle = 0.05 }
    local near, far = stream.pair()
    local served = h2.start(far, {})
    local s = assert(pool:open("k", { scheme = "http" }, function()
      return near, "h2"
    end))
    assert.equal(1, pool:size())
    s:close()
    helpers.eventually(function()
      return pool:size() == 0
    end)
    served:close()
    pool:close()
  end))
end)
