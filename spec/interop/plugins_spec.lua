-- Plugins of every kind over both protocols, written in Python as gost's documentation has them.

local base64 = require "tidegate.net.http.base64"
local cjson = require "cjson"
local helpers = require "spec.helpers"
local http = require "tidegate.net.http"
local plugin = require "tidegate.policy.plugin"
local plugin_server = require "spec.helpers.plugin_server"
local programs = require "spec.helpers.programs"
local shared = require "tidegate.native.shared"
local task = require "tidegate.native.task"

local opened = {}

local function in_task(test)
  return helpers.task(function()
    local ok, why = xpcall(test, debug.traceback)
    for _, object in ipairs(opened) do
      object:close()
    end
    opened = {}
    http.close_idle()
    if not ok then
      error(why, 0)
    end
  end)
end

local QUIET = { log = function() end }

local function open(server, kind, more, log)
  local object = assert(plugin.object(kind, { name = "p", plugin = server:config(kind, more) }, { log = log or QUIET }))
  opened[#opened + 1] = object
  return object
end

local function last(server, count)
  local calls = {}
  helpers.eventually(function()
    calls = server:calls()
    return #calls >= (count or 1)
  end)
  return calls[#calls]
end

local CTX = { service = { name = "service-0" }, client = "127.0.0.1:4711", user = "ann" }

-- The request as both protocols tell it: bytes as text, what was omitted as empty.
local function plain(request)
  local out = {}
  for key, value in pairs(request) do
    if type(value) == "table" and value.bytes then
      value = base64.decode(value.bytes)
    end
    if value ~= cjson.null and value ~= "" and not (type(value) == "table" and next(value) == nil) then
      out[key] = value
    end
  end
  return out
end

local function keys_of(object)
  local keys = {}
  for key in pairs(object) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return table.concat(keys, " ")
end

for _, protocol in ipairs { "http", "grpc" } do
  describe("a plugin over " .. protocol, function()
    local server

    after_each(helpers.task(function()
      shared.dict("plugin/failing"):clear()
      programs.stop_all()
    end))

    local function is_http()
      return protocol == "http"
    end

    -- What the server saw of the latest call: its name, its request, over HTTP also verb and keys.
    local function saw(count, call, request, verb, keys)
      local one = last(server, count)
      assert.equal(call, one.call)
      assert.same(request, plain(one.request))
      if is_http() then
        assert.equal(verb, one.verb)
        assert.equal("application/json", one.type)
        assert.equal(keys, keys_of(one.request))
      end
    end

    it("authenticates", in_task(function()
      server = plugin_server.start(protocol, { token = "secret" })
      local auther = open(server, "auther", { token = "secret" })
      assert.equal("id-of-gost", auther:check(CTX, "gost", "gost"))
      saw(1, "Authenticate", { username = "gost", password = "gost", client = "127.0.0.1:4711", service = "service-0" },
        "POST", "client password service username")
      assert.equal(is_http() and "Bearer secret" or "secret", last(server).token)
      assert.is_nil((auther:check(CTX, "gost", "wrong")))
      assert.is_nil((auther:check({}, "grü\"ße\n\\\1", "")))
      assert.is_nil((auther:check({}, "\255\254", "")))
      assert.is_nil((open(server, "auther"):check(CTX, "gost", "gost")))
    end))

    it("admits and bypasses", in_task(function()
      server = plugin_server.start(protocol)
      local admission, bypass = open(server, "admission"), open(server, "bypass")
      assert.is_true(admission:admits(CTX, "tcp", "127.0.0.1:80"))
      saw(1, "Admit", { addr = "127.0.0.1:80", service = "service-0", network = "tcp" }, "POST", "addr network service")
      assert.is_false(admission:admits(CTX, "tcp", "10.0.0.1:80"))
      assert.is_true(bypass:contains(CTX, "tcp", "blocked.test:80", { host = "h.test", path = "/p" }))
      saw(3, "Bypass", { addr = "blocked.test:80", service = "service-0", network = "tcp", client = "ann",
        host = "h.test", path = "/p" }, "POST", "addr client host network path service")
      assert.is_false(bypass:contains({}, "udp", "open.test:80", { host = "open.test:80" }))
      saw(4, "Bypass", { addr = "open.test:80", network = "udp" }, "POST", "addr client host network path service")
    end))

    it("maps and resolves names", in_task(function()
      server = plugin_server.start(protocol)
      local hosts, resolver = open(server, "hosts"), open(server, "resolver")
      local ips = { "192.0.2.1", "2001:db8::1" }
      assert.same(ips, hosts:lookup(CTX, "ip", "known.test"))
      saw(1, "Lookup", { network = "ip", host = "known.test", client = "ann" }, "POST", "client host network")
      assert.is_nil(hosts:lookup(CTX, "ip", "other.test"))
      assert.is_nil(hosts:lookup(CTX, "ip", "notok.test"))
      assert.same(ips, resolver:resolve(CTX, "ip4", "known.test"))
      saw(4, "Resolve", { network = "ip4", host = "known.test", client = "ann" }, "POST", "client host network")
      local none, err = resolver:resolve(CTX, "ip", "other.test")
      assert.is_nil(none)
      assert.equal("resolve", err.code)
      local unsure = resolver:resolve(CTX, "ip", "notok.test")
      assert.same(not is_http() and ips or nil, unsure)
    end))

    it("knows rules, routes and services", in_task(function()
      server = plugin_server.start(protocol)
      local ingress, router, sd = open(server, "ingress"), open(server, "router"), open(server, "sd")
      assert.equal("tunnel-1", ingress:get(CTX, "app.test"))
      saw(1, "GetRule", { host = "app.test", service = "service-0" }, "GET", "host service")
      assert.is_nil(ingress:get(CTX, "other & test"))
      saw(2, "GetRule", { host = "other & test", service = "service-0" }, "GET", "host service")
      assert.is_true(ingress:set(CTX, "app.test", "tunnel-2"))
      saw(3, "SetRule", { host = "app.test", endpoint = "tunnel-2", service = "service-0" }, "PUT",
        "endpoint host service")
      assert.is_false(ingress:set(CTX, "app.test", "no"))

      assert.same({ dst = "10.0.0.0/8", gateway = "gw-r1" }, router:get(CTX, "10.1.2.3", "r1"))
      saw(5, "GetRoute", { dst = "10.1.2.3", id = "r1" }, "GET", "dst id")
      assert.same({ dst = "10.0.0.0/8", gateway = "gw-" }, router:get(CTX, "10.1.2.3"))
      saw(6, "GetRoute", { dst = "10.1.2.3" }, "GET", "dst")
      assert.is_nil(router:get(CTX, "192.0.2.1"))

      local record = { id = "1", name = "web", node = "n", network = "tcp", address = "192.0.2.1:80" }
      assert.is_true(sd:register(CTX, record))
      saw(8, "Register", is_http() and record or { service = record }, "POST", "address id name network node")
      assert.is_true(sd:renew(CTX, record))
      saw(9, "Renew", is_http() and record or { service = record }, "PUT", "address id name network node")
      assert.same({ record }, sd:get(CTX, "web"))
      saw(10, "Get", { name = "web" }, "GET", "name")
      assert.same({}, sd:get(CTX, "none"))
      assert.is_true(sd:deregister(CTX, record))
      saw(12, "Deregister", is_http() and record or { service = record }, "DELETE", "address id name network node")
      assert.same({}, sd:get(CTX, "web"))
    end))

    it("chooses nodes and limits traffic", in_task(function()
      server = plugin_server.start(protocol)
      local hop, limiter = open(server, "hop"), open(server, "limiter")
      local node = hop:select(CTX, "tcp", "a.test:80", { host = "h.test:80", path = "/" })
      assert.same({ name = "n", addr = "h.test:80", connector = { type = "http" } }, cjson.decode(node))
      saw(1, "Select", { network = "tcp", addr = "a.test:80", host = "h.test:80", path = "/", client = "ann",
        src = "127.0.0.1:4711" }, "POST", "addr client host network path src")
      local none = hop:select(CTX, "tcp", "a.test:80")
      assert.equal(is_http() and "{}" or nil, none)

      local subject = { service = { name = "service-0" }, network = "tcp", target = "a.test:80", client = "1.2.3.4:5",
        user = "ann" }
      assert.same({ 1048576, 524288 }, { limiter:limit(subject, "client") })
      saw(3, "Limit", { network = "tcp", addr = "a.test:80", client = "ann", src = "1.2.3.4:5",
        service = "service-0", scope = "client" }, "POST", "addr client network scope service src")
      assert.same({ 0, 524288 }, { limiter:limit({ user = "free" }, "client") })
      limiter:limit(subject, "service")
      saw(5, "Limit", { network = "tcp", service = "service-0", scope = "service" }, "POST",
        "addr client network scope service src")
    end))

    it("observes, records and rewrites", in_task(function()
      server = plugin_server.start(protocol)
      local observer, recorder, rewriter = open(server, "observer"), open(server, "recorder"), open(server, "rewriter")
      local stats = { totalConns = 3, currentConns = 0, inputBytes = 9007199254740991, outputBytes = 5, totalErrs = 0 }
      local events = {
        { kind = "handler", service = "s", client = "ann", type = "stats", stats = stats },
        { kind = "service", service = "s", type = "status", status = { state = "ready", msg = "service s is ready" } },
      }
      assert.is_true(observer:observe(events))
      local one = last(server)
      assert.equal("Observe", one.call)
      local seen = one.request.events
      assert.same(events[1].stats, seen[1].stats)
      assert.same(events[2].status, seen[2].status)
      assert.equal("ann", seen[1].client)
      if is_http() then
        assert.equal("client kind service stats type", keys_of(seen[1]))
        assert.equal("kind service status type", keys_of(seen[2]))
        assert.truthy(one.raw:find('"inputBytes":9007199254740991', 1, true))
      end
      local ok, err = observer:observe { events[1], events[1], events[1] }
      assert.is_nil(ok)
      assert.truthy(err)

      local meta = { path = "a/b", host = "a", ["http.body"] = true, n = { 1, "x" } }
      assert.is_true(recorder:record("bytes \0\255", meta))
      one = last(server, 3)
      local metadata = '{"host":"a","http.body":true,"n":[1,"x"],"path":"a/b"}'
      if is_http() then
        assert.equal("bytes \0\255", base64.decode(one.request.data))
        assert.equal(metadata, base64.decode(one.request.metadata))
      else
        assert.same({ data = "bytes \0\255", metadata = metadata }, plain(one.request))
      end
      assert.is_nil((recorder:record("bad")))
      one = last(server, 4)
      assert.equal("null", base64.decode(is_http() and one.request.metadata or one.request.metadata.bytes))

      assert.equal("HELLO", rewriter:rewrite("hello"))
      assert.equal("leave", rewriter:rewrite("leave", { a = 1 }))
      local big = ("x"):rep(500000)
      assert.equal(big:upper(), rewriter:rewrite(big))
    end))

    it("is asked on one connection again and again", in_task(function()
      server = plugin_server.start(protocol)
      local admission = open(server, "admission")
      for _ = 1, 5 do
        assert.is_true(admission:admits(CTX, "tcp", "127.0.0.1:80"))
      end
      local peers = {}
      last(server, 5)
      for _, call in ipairs(server:calls()) do
        peers[call.peer] = true
      end
      assert.truthy(next(peers) ~= nil and next(peers, next(peers)) == nil)
    end))

    it("is spoken to over TLS when it says so", in_task(function()
      local folder = programs.folder()
      programs.output("openssl", {
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=plugin.test", "-addext", "subjectAltName=DNS:plugin.test",
        "-keyout", folder .. "/key.pem", "-out", folder .. "/cert.pem",
      })
      server = plugin_server.start(protocol, { cert = folder .. "/cert.pem", key = folder .. "/key.pem" })
      local trusting = open(server, "admission", { tls = { serverName = "plugin.test" } })
      assert.is_true(trusting:admits(CTX, "tcp", "127.0.0.1:80"))
      local strict = open(server, "admission", { tls = { secure = true, serverName = "plugin.test" } })
      assert.is_false(strict:admits(CTX, "tcp", "127.0.0.1:80"))
    end))

    -- Each kind's answer when nobody answers.
    local function check_defaults(timeout)
      local more = { timeout = timeout }
      assert.is_nil((open(server, "auther", more):check(CTX, "gost", "gost")))
      assert.is_false(open(server, "admission", more):admits(CTX, "tcp", "127.0.0.1:80"))
      assert.is_true(open(server, "bypass", more):contains(CTX, "tcp", "open.test:80"))
      assert.is_nil(open(server, "hosts", more):lookup(CTX, "ip", "known.test"))
      local ips, err = open(server, "resolver", more):resolve(CTX, "ip", "known.test")
      assert.is_nil(ips)
      assert.equal("resolve", err.code)
      assert.is_nil(open(server, "ingress", more):get(CTX, "app.test"))
      assert.is_false(open(server, "ingress", more):set(CTX, "app.test", "x"))
      local sd = open(server, "sd", more)
      assert.is_nil((sd:register(CTX, {})))
      assert.is_nil((sd:get(CTX, "web")))
      assert.is_nil(open(server, "router", more):get(CTX, "10.1.2.3"))
      assert.same({}, { open(server, "limiter", more):limit({}, "service") })
      assert.is_nil((open(server, "observer", more):observe {}))
      assert.is_nil((open(server, "recorder", more):record "x"))
    end

    it("that answers with an error is taken for its default", in_task(function()
      server = plugin_server.start(protocol, { fault = "status" })
      check_defaults()
      assert.is_nil(open(server, "hop"):select(CTX, "tcp", "a.test:80", { host = "a.test" }))
      local data, err = open(server, "rewriter"):rewrite "x"
      assert.equal(is_http() and "x" or nil, data)
      assert.equal(is_http(), err == nil)
    end))

    it("that answers garbage is taken for its default", in_task(function()
      server = plugin_server.start(protocol, { fault = "garbage" })
      check_defaults()
      assert.is_nil((open(server, "rewriter"):rewrite "x"))
    end))

    it("that does not answer is taken for its default in time", in_task(function()
      server = plugin_server.start(protocol, { fault = "hang" })
      local before = task.now()
      check_defaults(0.1)
      assert.truthy(task.now() - before < 5000)
    end))

    it("that is gone is taken for its default, and is asked again when it is back", in_task(function()
      server = plugin_server.start(protocol)
      local said = {}
      local admission = open(server, "admission", nil, { log = function(_, level, text)
        said[#said + 1] = level .. " " .. text
      end })
      assert.is_true(admission:admits(CTX, "tcp", "127.0.0.1:80"))
      server.process:stop("sigkill")
      for _ = 1, 5 do
        assert.is_false(admission:admits(CTX, "tcp", "127.0.0.1:80"))
      end
      assert.equal(1, #said)
      assert.matches("^warn admission \"p\": plugin .* fails: ", said[1])
      server = plugin_server.start(protocol, { port = server.port })
      helpers.eventually(function()
        return admission:admits(CTX, "tcp", "127.0.0.1:80") and #said > 1
      end)
      assert.equal(2, #said)
      assert.matches("^info admission \"p\": plugin .* works again$", said[2])
    end))
  end)
end
