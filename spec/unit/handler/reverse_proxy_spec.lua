-- A forwarder that looks into HTTP: targets by rule, and what is done to requests and responses.

local coding = require "tidegate.native.coding"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local LIMIT_MS = 20000

-- An origin that answers with `response`; what it was asked is in `seen`.
local function origin(seen, response, name)
  return plane.accept(function(s)
    s:set_deadline(task.now() + LIMIT_MS)
    while true do
      local head = s:read_until("\r\n\r\n", 65536)
      if not head then
        return
      end
      local length = tonumber(head:match "[Cc]ontent%-[Ll]ength: (%d+)")
      local body = length and length > 0 and s:read_exact(length) or ""
      if head:find "[Tt]ransfer%-[Ee]ncoding: chunked" then
        body = s:read_until("0\r\n\r\n", 65536)
      end
      seen[#seen + 1] = { head = head, body = body, by = name }
      local answer = type(response) == "function" and response(head, body) or response
      s:write(answer or "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      if answer and answer:find "\r\n[Cc]onnection: close" then
        s:shutdown()
        return
      end
    end
  end)
end

-- A service whose forwarder has these nodes.
local function forwarder(nodes, metadata, more)
  local md = { sniffing = true }
  for key, value in pairs(metadata or {}) do
    md[key] = value
  end
  local config = more or {}
  config.services = { {
    name = "s", addr = ":0", handler = { type = "tcp", metadata = md }, listener = { type = "tcp" },
    forwarder = { nodes = nodes },
  } }
  local built, problems = plane.build(config)
  assert.same({}, problems)
  return built.s
end

local function talk(service, request)
  local s = plane.client(service)
  s:set_deadline(task.now() + LIMIT_MS)
  assert(s:write(request))
  local parts = {}
  while true do
    local piece = s:read()
    if not piece then
      break
    end
    parts[#parts + 1] = piece
  end
  s:close()
  return table.concat(parts)
end

local function get(path, fields)
  return ("GET %s HTTP/1.1\r\nHost: site.example\r\n%s\r\n"):format(path, fields or "")
end

local function post(body, fields)
  return ("POST /p HTTP/1.1\r\nHost: site.example\r\nContent-Length: %d\r\n%s\r\n%s"):format(#body, fields or "", body)
end

local function ok(body, fields)
  return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s"):format(#body, fields or "", body)
end

local HTML = "Content-Type: text/html; charset=utf-8\r\n"

local NOISE = {}
for i = 1, 20000 do
  NOISE[i] = string.char((i * i * 31 + i * 17) % 256)
end
NOISE = table.concat(NOISE)

describe("reverse proxy", function()
  after_each(helpers.task(plane.cleanup))

  -- name, rule of the one node, request, whether it takes it
  for _, case in ipairs {
    { "Host", "Host(`site.example`)", get "/", true },
    { "another Host", "Host(`other.example`)", get "/", false },
    { "Path", "Path(`/a`)", get "/a?x=1", true },
    { "an encoded Path", "PathPrefix(`/admin`)", get "/%61dmin/x", true },
    { "Method", "Method(`POST`)", get "/", false },
    { "Header", "Header(`X-Key`, `v`)", get("/", "X-Key: v\r\n"), true },
    { "one of several headers", "Header(`X-Key`, `w`)", get("/", "X-Key: v\r\nx-key: w\r\n"), true },
    { "a number in a header", "Header(`X-N`, `gt`, `3`)", get("/", "X-N: 4\r\n"), true },
    { "Query", "Query(`q`, `a b`)", get "/?q=a+b", true },
    { "Query that is absent", "Query(`q`)", get "/?p=1", false },
    { "ClientIP of a proxy in front", "ClientIP(`192.0.2.0/24`)",
      get("/", "X-Forwarded-For: 192.0.2.7, ::1\r\n"), true },
    { "ClientIP of Cloudflare first", "ClientIP(`192.0.2.1`)",
      get("/", "X-Real-Ip: 192.0.2.3\r\nX-Forwarded-For: 192.0.2.2\r\nCF-Connecting-IP: 192.0.2.1\r\n"), true },
    { "ClientIP of the first forwarded", "ClientIP(`192.0.2.2`)",
      get("/", "X-Real-Ip: 192.0.2.3\r\nX-Forwarded-For: 192.0.2.2, 192.0.2.9\r\n"), true },
    { "ClientIP of X-Real-Ip last", "ClientIP(`192.0.2.3`)", get("/", "X-Real-Ip: 192.0.2.3\r\n"), true },
    { "no ClientIP that is none", "ClientIP(`0.0.0.0/0`) || ClientIP(`::/0`)",
      get("/", "X-Real-Ip: somebody\r\n"), false },
    { "Host with a port", "Host(`site.example`)", "GET / HTTP/1.1\r\nHost: Site.Example:8080\r\n\r\n", true },
    { "no Host among headers", "Header(`Host`)", get "/", false },
    { "no Network", "Network(`tcp`)", get "/", false },
    { "Proto", "Proto(`http`)", get "/", true },
    { "BodyRegexp", "BodyRegexp(`sec.et`)", post "my secret", true },
    { "BodyJSON", "BodyJSON(`user.name`, `^al`)", post '{"user":{"name":"alice"}}', true },
    { "a packed body", "BodyRegexp(`secret`)",
      post(assert(coding.pack("gzip", "my secret")), "Content-Encoding: gzip\r\n"), true },
    { "a packed body, as far as it is read", nil,
      post(assert(coding.pack("gzip", "my secret" .. NOISE)), "Content-Encoding: gzip\r\n"), true,
      { rule = "BodyRegexp(`^my secret`)", bodySize = 2000 } },
    { "what is beyond the prefix", nil, post(("x"):rep(5000) .. "secret"), false,
      { rule = "BodyRegexp(`secret`)", bodySize = 5003 } },
    { "a body in chunks", "BodyRegexp(`secret`)", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. "3\r\nsec\r\n3\r\nret\r\n0\r\n\r\n", true },
    { "no body", "BodyRegexp(`secret`)", get "/", false },
  } do
    local name, rule, request, takes, matcher = unpack(case)
    it("chooses by " .. name, helpers.task(function()
      local seen = {}
      local service = forwarder { { name = "n", addr = origin(seen), matcher = matcher or { rule = rule } } }
      local answer = talk(service, request)
      assert.match(takes and "^HTTP/1.1 200 OK\r\n" or "^HTTP/1.1 502 Bad Gateway\r\nContent%-Length: 0\r\n", answer)
      assert.same(takes and 1 or 0, #seen)
    end))
  end

  for what, request in pairs {
    ["an empty one"] = "GET / HTTP/1.1\r\nHost: \r\n\r\n", ["none, by HTTP/1.0"] = "GET / HTTP/1.0\r\n\r\n",
  } do
    it("always sends a Host: for " .. what, helpers.task(function()
      local seen = {}
      talk(forwarder { { name = "n", addr = origin(seen) } }, request)
      assert.match("^GET / HTTP/1.1\r\nHost: \r\n", seen[1].head)
    end))
  end

  it("leaves a body as it was that rules have looked at", helpers.task(function()
    local seen = {}
    local service = forwarder { { name = "n", addr = origin(seen), matcher = { rule = "BodyRegexp(`b`)" } } }
    local body = ("abc"):rep(1000)
    talk(service, post(body))
    assert.same(body, seen[1].body)
  end))

  it("chooses anew for each request of a connection", helpers.task(function()
    local seen = {}
    local service = forwarder({
      { name = "a", addr = origin(seen, nil, "a"), matcher = { rule = "PathPrefix(`/a`)" } },
      { name = "b", addr = origin(seen, nil, "b"), matcher = { rule = "PathPrefix(`/b`)" } },
    }, { ["http.keepalive"] = true })
    talk(service, get "/a1" .. get "/b1" .. get("/a2", "Connection: close\r\n"))
    assert.same({ "a", "b", "a" }, { seen[1].by, seen[2].by, seen[3].by })
    assert.match("^GET /a2 HTTP/1.1\r\nHost: site.example\r\n", seen[3].head)
    plane.cleanup() -- connections that are kept
  end))

  it("closes after each response unless told otherwise, as gost does", helpers.task(function()
    local seen = {}
    local service = forwarder { { name = "a", addr = origin(seen) } }
    local answer = talk(service, get "/1" .. get "/2")
    assert.match("\r\nConnection: close\r\n", answer, 1, true)
    assert.same(1, #seen)
    assert.match("\r\nConnection: close\r\n", seen[1].head, 1, true)
  end))

  -- name, http settings, request, what of the request must match, what must not
  for _, case in ipairs {
    { "host", { host = "inner.example" }, get "/", "\r\nHost: inner%.example\r\n", "site%.example" },
    { "requestHeader", { requestHeader = { ["X-Set"] = "1", ["X-Gone"] = "" } }, get("/", "X-Gone: a\r\nx-set: 0\r\n"),
      "\r\nX%-Set: 1\r\n", "[Gg]one" },
    { "requestHeader replaces in any case", { requestHeader = { ["X-Set"] = "1" } }, get("/", "x-set: 0\r\n"),
      "\r\nX%-Set: 1\r\n", "x%-set" },
    { "the old key header", { header = { ["X-Set"] = "1" } }, get "/", "\r\nX%-Set: 1\r\n" },
    { "rewriteURL", { rewriteURL = { { match = "^/api/(.*)$", replacement = "/v2/$1" } } }, get "/api/users?q=1",
      "^GET /v2/users%?q=1 HTTP" },
    { "rewriteURL with a query",
      { rewriteURL = { { match = "^/go/(\\w+)", replacement = "/x?to=$1" } } }, get "/go/a?z=1",
      "^GET /x%?to=a HTTP" },
    { "the unescaped path", { rewriteURL = { { match = "/a b", replacement = "/c d$0" } } }, get "/a%20b/%41?x",
      "^GET /c%%20d/a%%20b/A%?x HTTP" },
    { "a pattern that makes no sense: not at all", { rewriteURL = { { match = "(", replacement = "/1" } } }, get "/(",
      "^GET /%( HTTP" },
    { "the first rule that leaves something", { rewriteURL = { { match = "^/a$", replacement = "" },
      { match = "a", replacement = "b" } } }, get "/a", "^GET /b HTTP" },
    { "the first rule that matches", { rewriteURL = {
      { match = "nothing", replacement = "/0" }, { match = "/a", replacement = "/1" },
      { match = ".*", replacement = "/2" },
    } }, get "/a", "^GET /1 HTTP" },
    { "the old key rewrite", { rewrite = { { match = "/a", replacement = "/b" } } }, get "/a", "^GET /b HTTP" },
  } do
    local name, http, request, has, has_not = unpack(case)
    it("changes requests by " .. name, helpers.task(function()
      local seen = {}
      talk(forwarder { { name = "n", addr = origin(seen), http = http } }, request)
      assert.match(has, seen[1].head)
      if has_not then
        assert.not_match(has_not, seen[1].head)
      end
    end))
  end

  -- name, rules, request, body as it goes on
  for _, case in ipairs {
    { "a pattern", { { match = "cat", replacement = "dog", type = "*" } },
      post("a cat", "Content-Type: text/plain\r\n"),
      "a dog" },
    { "HTML alone unless it says more", { { match = "cat", replacement = "dog" } },
      post("a cat", "Content-Type: text/plain\r\n"), "a cat" },
    { "a list of types", { { match = "cat", replacement = "dog", type = "text/html,text/plain" } },
      post("a cat", "Content-Type: text/plain\r\n"), "a dog" },
    { "a place in JSON", { { match = "json:a.b", replacement = 'x"y' } },
      post('{ "a": {"c":[1,{}], "b" : "old"}, "z":1}', "Content-Type: application/json\r\n"),
      '{ "a": {"c":[1,{}], "b" : "x\\"y"}, "z":1}' },
    { "a place in JSON where it matches", { { match = "json:l.1=^t", replacement = "new" } },
      post('{"l":["one","two"]}', "Content-Type: application/json\r\n"), '{"l":["one","new"]}' },
    { "a place in JSON where it does not", { { match = "json:l.0=^t", replacement = "new" } },
      post('{"l":["one","two"]}', "Content-Type: application/json\r\n"), '{"l":["one","two"]}' },
    { "a place in JSON of that type alone", { { match = "json:a", replacement = "new" } },
      post('{"a":"old"}', "Content-Type: text/json\r\n"), '{"a":"old"}' },
    { "a place in JSON with parameters", { { match = "json:a", replacement = "new" } },
      post('{"a":"old"}', "Content-Type: application/json; charset=utf-8\r\n"), '{"a":"new"}' },
    { "any type that is not said", { { match = "cat", replacement = "dog" } }, post "a cat", "a dog" },
    { "a place in JSON that is not there", { { match = "json:a.z", replacement = "new" } },
      post('{"a":{"b":1}}', "Content-Type: application/json\r\n"), '{"a":{"b":1,"z":"new"}}' },
    { "a place in an empty object", { { match = "json:z", replacement = "new" } },
      post("{ }", "Content-Type: application/json\r\n"), '{ "z":"new"}' },
    { "no place at all", { { match = "json:a.b.c", replacement = "new" } },
      post('{"a":[1]}', "Content-Type: application/json\r\n"), '{"a":[1]}' },
    { "rules one after the other", { { match = "a", replacement = "b", type = "*" }, { match = "b", replacement = "c",
      type = "*" } }, post "ab", "cc" },
  } do
    local name, rules, request, body = unpack(case)
    it("changes bodies of requests by " .. name, helpers.task(function()
      local seen = {}
      talk(forwarder { { name = "n", addr = origin(seen), http = { rewriteRequestBody = rules } } }, request)
      assert.same(body, seen[1].body)
    end))
  end

  for _, name in ipairs { "gzip", "deflate", "br", "zstd" } do
    it("unpacks and packs bodies in " .. name, helpers.task(function()
      local seen = {}
      local packed = assert(coding.pack(name, "<p>cat</p>"))
      local service = forwarder { { name = "n", addr = origin(seen, ok(packed, HTML .. "Content-Encoding: " .. name
        .. "\r\n")), http = { rewriteResponseBody = { { match = "cat", replacement = "dog" } } } } }
      local answer = talk(service, get "/")
      local length, body = answer:match "\r\nContent%-Length: (%d+)\r\n\r\n(.*)$"
      assert.same(#body, tonumber(length))
      assert.same("<p>dog</p>", (coding.unpack(name, body, 1000)))
    end))
  end

  -- name, http settings, the origin's answer, what must match, what must not
  for _, case in ipairs {
    { "rewriteResponseBody", { rewriteResponseBody = { { match = "c(a)t", replacement = "d${1}g" } } },
      ok("<p>cat</p>", HTML), "\r\n\r\n<p>dag</p>$" },
    { "the old key rewriteBody", { rewriteBody = { { match = "cat", replacement = "dog" } } }, ok("cat", HTML),
      "\r\n\r\ndog$" },
    { "chunks", { rewriteResponseBody = { { match = "cat", replacement = "dog" } } },
      "HTTP/1.1 200 OK\r\n" .. HTML .. "Transfer-Encoding: chunked\r\n\r\n2\r\nca\r\n1\r\nt\r\n0\r\n\r\n",
      "\r\nContent%-Length: 3\r\n\r\ndog$", "chunked" },
    { "a body until the end", { rewriteResponseBody = { { match = "cat", replacement = "dog" } } },
      "HTTP/1.1 200 OK\r\n" .. HTML .. "Connection: close\r\n\r\ncat", "\r\nContent%-Length: 3\r\n\r\ndog$" },
    { "a longer body of unknown length not at all", { rewriteResponseBody = { { match = "cat", replacement = "dog",
      maxChunkSize = 8 } } }, "HTTP/1.1 200 OK\r\n" .. HTML .. "Transfer-Encoding: chunked\r\n\r\na\r\ncatcatcatc\r\n"
      .. "0\r\n\r\n", "\r\n\r\na\r\ncatcatcatc\r\n0\r\n\r\n$" },
    { "an unknown coding not at all", { rewriteResponseBody = { { match = "cat", replacement = "dog" } } },
      ok("cat", HTML .. "Content-Encoding: odd\r\n"), "\r\n\r\ncat$" },
    { "a broken coding not at all", { rewriteResponseBody = { { match = "cat", replacement = "dog" } } },
      ok("cat", HTML .. "Content-Encoding: gzip\r\n"), "\r\n\r\ncat$" },
    { "a part not at all", { rewriteResponseBody = { { match = "cat", replacement = "dog" } } },
      "HTTP/1.1 206 Partial Content\r\n" .. HTML .. "Content-Length: 3\r\n\r\ncat", "\r\n\r\ncat$" },
    { "responseHeader", { responseHeader = { ["X-Set"] = "1", Server = "" } }, ok("x", "Server: s\r\nx-set: 0\r\n"),
      "\r\nX%-Set: 1\r\n", "Server" },
  } do
    local name, http, answer, has, has_not = unpack(case)
    it("changes responses: " .. name, helpers.task(function()
      local got = talk(forwarder { { name = "n", addr = origin({}, answer), http = http } }, get "/")
      assert.match(has, got)
      if has_not then
        assert.not_match(has_not, got)
      end
    end))
  end

  it("changes events one by one", helpers.task(function()
    local service = forwarder { { name = "n", addr = origin({}, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
      .. "Connection: close\r\n\r\ndata: cat\n\ndata: 2 cats\r\n\r\ndata: end"),
      http = { rewriteResponseBody = { { match = "cat", replacement = "dog", type = "*" } } } } }
    local body = talk(service, get "/"):match "\r\n\r\n(.*)$"
    assert.same("b\r\ndata: dog\n\n\r\ne\r\ndata: 2 dogs\n\n\r\nb\r\ndata: end\n\n\r\n0\r\n\r\n", body)
  end))

  it("finds events wherever pieces are cut", helpers.task(function()
    local text, expected = "", {}
    for i = 1, 40 do
      text = text .. ("data: %d cat"):format(i) .. ({ "\n\n", "\r\n\r\n", "\r\r" })[i % 3 + 1]
      expected[i] = ("data: %d dog\n\n"):format(i)
    end
    local address = plane.accept(function(s)
      s:read_until("\r\n\r\n", 4096)
      s:write "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
      for i = 1, #text do
        s:write(text:sub(i, i))
        helpers.pass()
      end
      s:shutdown()
    end)
    local service = forwarder { { name = "n", addr = address,
      http = { rewriteResponseBody = { { match = "cat", replacement = "dog", type = "*" } } } } }
    local body = talk(service, "GET / HTTP/1.0\r\n\r\n"):match "\r\n\r\n(.*)$"
    assert.same(table.concat(expected), body)
  end))

  it("tells rewriters about events, the last one included", helpers.task(function()
    local registry = require "tidegate.policy.rewriter"
    local metas, original = {}, registry.of
    registry.of = function()
      return { rewrite = function(_, data, meta)
        metas[#metas + 1] = ("%s %d %s"):format(meta.sse_phase, meta.event_index, data)
        return data
      end }
    end
    local service = forwarder { { name = "n", addr = origin({}, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
      .. "Connection: close\r\n\r\na\n\nb\n\n"), http = { rewriteResponseBody = { { rewriter = "r" } } } } }
    registry.of = original
    talk(service, get "/")
    assert.same({ "start 0 a", "event 1 b", "end 2 " }, metas)
  end))

  it("tells rewriters whose message they have, and asks them where their pattern matches", helpers.task(function()
    local registry = require "tidegate.policy.rewriter"
    local metas, seen, original = {}, {}, registry.of
    registry.of = function(name)
      return { rewrite = function(_, data, meta)
        metas[#metas + 1] = ("%s %s %s %s %d"):format(name, meta.direction, meta.uri, data, #meta.sid)
        return data:upper()
      end }
    end
    local service = forwarder { { name = "n", addr = origin(seen, ok("<p>cat</p>", HTML)), http = {
      rewriteRequestBody = { { rewriter = "all" }, { rewriter = "dogs", match = "dog" },
        { rewriter = "there", match = "json:a=b" } },
      rewriteResponseBody = { { rewriter = "cats", match = "cat" } },
    } } }
    registry.of = original
    local answer = talk(service, post('{"a":"b"}', "Content-Type: application/json\r\n"))
    assert.match("\r\n\r\n<P>CAT</P>$", answer)
    assert.same('{"A":"B"}', seen[1].body)
    assert.same({ 'all request /p {"a":"b"} 20', "cats response /p <p>cat</p> 20" }, metas)
  end))

  it("leaves bodies to go as they are when the rewriter is not there", helpers.task(function()
    local service = forwarder { { name = "n", addr = origin({}, ok("cat", HTML)),
      http = { rewriteResponseBody = { { rewriter = "nobody" } } } } }
    assert.match("\r\n\r\ncat$", talk(service, get "/"))
  end))

  it("ends the exchange when a rewriter fails", helpers.task(function()
    local registry = require "tidegate.policy.rewriter"
    local failure, original = require "tidegate.failure", registry.of
    registry.of = function()
      return { rewrite = function()
        return nil, failure.new("io", "no")
      end }
    end
    local service = forwarder { { name = "n", addr = origin({}, ok("secret", HTML)),
      http = { rewriteResponseBody = { { rewriter = "r" } } } } }
    registry.of = original
    assert.same("", talk(service, get "/"))
  end))

  it("asks for credentials of a target", helpers.task(function()
    local seen = {}
    local service = forwarder { { name = "n", addr = origin(seen),
      http = { auth = { username = "u", password = "p" } } } }
    assert.match("^HTTP/1.1 401 Unauthorized\r\nWWW%-Authenticate: Basic\r\n", talk(service, get("/",
      "Connection: close\r\n")))
    assert.match("^HTTP/1.1 401", talk(service, get("/", "Authorization: Basic dTpx\r\nConnection: close\r\n")))
    assert.match("^HTTP/1.1 200", talk(service, get("/", "Authorization: Basic dTpw\r\n")))
    assert.same(1, #seen)
    service = forwarder { { name = "n", addr = origin(seen), auth = { username = "old", password = "p" } } }
    assert.match("^HTTP/1.1 401", talk(service, get("/", "Connection: close\r\n")))
    assert.match("^HTTP/1.1 200", talk(service, get("/", "Authorization: Basic b2xkOnA=\r\n")))
  end))

  it("marks targets that answer with failCodes", helpers.task(function()
    local seen = {}
    local service = forwarder {
      { name = "bad", addr = origin(seen, "HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", "bad"),
        http = { failCodes = "500,what, 50, 5xx" } },
      { name = "good", addr = origin(seen, nil, "good") },
    }
    local answers = {}
    for i = 1, 3 do
      answers[i] = talk(service, get "/"):sub(1, 12)
    end
    table.sort(answers)
    assert.same({ "HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 502" }, answers)
  end))

  it("tells the client when a target cannot be reached", helpers.task(function()
    assert.match("^HTTP/1.1 503 Service Unavailable\r\nContent%-Length: 0\r\n",
      talk(forwarder { { name = "n", addr = plane.nobody() } }, get "/"))
  end))

  it("asks the bypass for host and path", helpers.task(function()
    local seen = {}
    local config = { bypasses = { { name = "b", matchers = { "site.example" } } } }
    local service = forwarder({ { name = "n", addr = origin(seen) } }, nil, config)
    service.bypass = require("tidegate.policy.bypass").of({ bypass = "b" }, service.registry)
    assert.match("^HTTP/1.1 403 Forbidden\r\nContent%-Length: 0\r\n", talk(service, get("/", "Connection: close\r\n")))
    assert.same(0, #seen)

    local asked = {}
    service.bypass = { contains = function(_, _, network, address, info)
      asked[#asked + 1] = ("%s %s %s %s"):format(network, address, info.host, info.path)
      return false
    end }
    assert.match("^HTTP/1.1 200", talk(service, get "/a/b"))
    assert.same("tcp site.example:80 site.example:80 /a/b", asked[1])
  end))

  it("goes where the client asks when a target has no address", helpers.task(function()
    local seen = {}
    local service = forwarder { { name = "any", addr = "" } }
    local address = origin(seen)
    assert.match("^HTTP/1.1 200", talk(service, ("GET / HTTP/1.1\r\nHost: %s\r\n\r\n"):format(address)))
    assert.match("\r\nHost: " .. address, seen[1].head, 1, true)
  end))

  it("serves from the cache what it has, credentials first", helpers.task(function()
    local seen = {}
    local config = { caches = { { name = "c", memory = {} } } }
    local service = forwarder({ { name = "n", addr = origin(seen, ok("<p>cat</p>", HTML)), http = {
      auth = { username = "u", password = "p" }, rewriteResponseBody = { { match = "cat", replacement = "dog" } },
    } } }, { ["cache.unsafe"] = true }, config)
    service.cache = service.registry.caches.c
    local request = get("/", "Authorization: Basic dTpw\r\n")
    for _ = 1, 3 do
      assert.match("\r\n\r\n<p>dog</p>$", talk(service, request))
    end
    assert.same(1, #seen)
    assert.match("^HTTP/1.1 401", talk(service, get("/", "Connection: close\r\n")))
  end))

  it("begins with the PROXY header where asked to, for each client anew", helpers.task(function()
    local firsts = {}
    local address = plane.accept(function(s)
      s:set_deadline(task.now() + LIMIT_MS)
      firsts[#firsts + 1] = s:read_until("\r\n", 200)
      s:read_until("\r\n\r\n", 4096)
      s:write "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    end)
    local service = forwarder({ { name = "n", addr = address } }, { proxyProtocol = 1, ["http.keepalive"] = true })
    local where = plane.accept(function(s) -- clients with an address
      service:serve(s)
    end)
    for _ = 1, 2 do
      local s = assert(stream.dial(where))
      s:set_deadline(task.now() + LIMIT_MS)
      s:write(get("/", "Connection: close\r\n"))
      assert.truthy(s:read_until("\r\n\r\nok", 4096))
      s:close()
    end
    assert.match("^PROXY ", firsts[1])
    assert.match("^PROXY ", firsts[2])
  end))

  it("takes an absolute target for more than Host", helpers.task(function()
    local seen = {}
    local service = forwarder { { name = "n", addr = origin(seen), matcher = { rule = "Host(`a.example`)" } } }
    talk(service, "GET http://a.example/x HTTP/1.1\r\nHost: b.example\r\n\r\n")
    assert.match("^GET /x HTTP/1.1\r\nHost: a.example\r\n", seen[1].head)
    assert.match("^HTTP/1.1 502", talk(service, "GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"))
  end))

  it("believes no hidden name", helpers.task(function()
    local seen = {}
    local service = forwarder { { name = "n", addr = origin(seen), matcher = { rule = "Host(`example.com`)" } } }
    assert.match("^HTTP/1.1 502", talk(service, get("/", "Gost-Target: tvpOuVpYaGhiWEJzWlM1amIyMA\r\n")))
  end))

  it("lets nobody leave for HTTP/2 on the way", helpers.task(function()
    local seen = {}
    local service = forwarder { { name = "n", addr = origin(seen) } }
    talk(service, get("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"))
    assert.not_match("[Uu]pgrade", seen[1].head)
    assert.not_match("HTTP2", seen[1].head)
  end))

  it("refuses what two parsers could take differently", helpers.task(function()
    local seen = {}
    local service = forwarder({ { name = "n", addr = origin(seen) } }, { ["http.keepalive"] = true })
    for _, request in ipairs {
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
      "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
      "GET / HTTP/1.1\nHost: a\n\n",
      "GET x/y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    } do
      assert.match("^HTTP/1.1 400 Bad Request", talk(service, request), request)
    end
    assert.match("^HTTP/1.1 431", talk(service, get("/", ("X-A: %s\r\n"):format(("a"):rep(70000)))))
    assert.same(0, #seen)
  end))

  it("keeps bodies small that are packed to burst", helpers.task(function()
    local bomb = assert(coding.pack("gzip", ("\0"):rep(64 * 1024 * 1024)))
    local service = forwarder { { name = "n", addr = origin({}, ok(bomb, HTML .. "Content-Encoding: gzip\r\n")),
      http = { rewriteResponseBody = { { match = "cat", replacement = "dog" } } } } }
    local answer = talk(service, get "/")
    assert.same(bomb, answer:match "\r\n\r\n(.*)$")
  end))

  it("says what is wrong with settings when it starts", helpers.task(function()
    for _, case in ipairs {
      { { rewriteResponseBody = { { match = "(", replacement = "" } } }, "body rewrite" },
      { { rewriteResponseBody = { { match = "json:a|b", replacement = "" } } }, "json:a" },
      { { requestHeader = { ["a b"] = "x" } }, "header field" },
    } do
      local _, problems = plane.build { services = { {
        name = "s", addr = ":0", listener = { type = "tcp" },
        handler = { type = "tcp", metadata = { sniffing = true } },
        forwarder = { nodes = { { name = "n", addr = "127.0.0.1:1", http = case[1] } } },
      } } }
      assert.match(case[2], problems[1], 1, true)
    end
  end))
end)
