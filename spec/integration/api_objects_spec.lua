-- Every key that an object of gost's API may have, by endpoint: what is sent comes back, in JSON and YAML, and
-- the process still serves; and the rules that hold for all of them.

local api = require "spec.helpers.api"
local cjson = require "cjson"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local S = 1e9 -- durations are nanoseconds

local PLUGIN = { type = "http", addr = "http://127.0.0.1:1/", tls = { secure = true, serverName = "p.test" },
  timeout = 5 * S, token = "t" }
local FILE = { path = "/nowhere/list" }
local REDIS = { addr = "127.0.0.1:1", db = 1, username = "u", password = "p", key = "k" }
local HTTP = { url = "http://127.0.0.1:1/", timeout = 5 * S }
local AUTH, SELECTOR = { username = "u", password = "p" }, { strategy = "fifo", maxFails = 2, failTimeout = 30 * S }
local PROBE = { type = "http", addr = "127.0.0.1:1", interval = 3600 * S, timeout = S, httpPath = "/x",
  httpHost = "h.test", httpHeaders = { ["X-A"] = "b" }, expectedStatus = 204 }

local function loaded(fields)
  fields.reload, fields.file, fields.redis, fields.http = 3600 * S, FILE, REDIS, HTTP
  return fields
end

-- COLLECTION, an object with everything that goes together
local OBJECTS = {
  { "authers", loaded { auths = { AUTH } } },
  { "admissions", loaded { whitelist = true, matchers = { "127.0.0.1" } } },
  { "bypasses", loaded { whitelist = true, matchers = { "*.test" }, network = "tcp" } },
  { "resolvers", { nameservers = { { addr = "udp://127.0.0.1:1", prefer = "ipv4", clientIP = "192.0.2.1",
    hostname = "d.test", ttl = 60 * S, timeout = S, async = true, only = "ipv4" } } } },
  { "hosts", loaded { mappings = { { ip = "192.0.2.1", hostname = "a.test", aliases = { "b.test" } } } } },
  { "ingresses", loaded { rules = { { hostname = "a.test", endpoint = "e" } } } },
  { "routers", loaded { routes = { { dst = "192.0.2.0/24", gateway = "192.0.2.9" } } } },
  { "sds", { plugin = PLUGIN } },
  { "observers", { plugin = PLUGIN } },
  { "recorders", { file = { path = "records", sep = "--", rotation = { maxSize = 1, maxAge = 2, maxBackups = 3,
    localTime = true, compress = true } } } },
  { "recorders", { tcp = { addr = "127.0.0.1:1", timeout = S } } },
  { "recorders", { http = { url = "http://127.0.0.1:1/", timeout = S, header = { ["X-A"] = "b" } } } },
  { "recorders", { redis = { addr = "127.0.0.1:1", db = 1, username = "u", password = "p", key = "k",
    type = "list" } } },
  { "limiters", loaded { limits = { "$ 1GB 1GB", "$$ 1GB" } } },
  { "climiters", loaded { limits = { "$ 1000", "192.0.2.1 5" } } },
  { "rlimiters", loaded { limits = { "$ 1000" } } },
  { "quotas", { limit = "1TB", startsAt = "2026-01-01T00:00:00Z", expiresAt = "2036-01-01T00:00:00Z",
    direction = "total", flush = "10s", store = { type = "file", file = "q.json" } } },
  { "caches", { memory = { ttl = 60 * S, maxSize = 10, maxBytes = 1000, cleanupInterval = 60 * S,
    eviction = "lru" } } },
  { "caches", { redis = { addr = "127.0.0.1:1", db = 1, username = "u", password = "p", ttl = S, key = "k" } } },
  { "hops", loaded { selector = SELECTOR, bypass = "x", resolver = "x", hosts = "x", nodes = { {
    name = "n", addr = "127.0.0.1:1", network = "tcp", bypass = "x", resolver = "x", hosts = "x",
    connector = { type = "http", auth = AUTH, metadata = { userAgent = "x" } },
    dialer = { type = "tls", auth = AUTH, tls = { secure = true, serverName = "s.test" },
      metadata = { nodelay = true } },
    matcher = { rule = "Host(`a.test`)", priority = 3 }, probe = PROBE, metadata = { weight = 2 },
  } } } },
  { "chains", { hops = { { name = "one", nodes = { { name = "n", addr = "127.0.0.1:1",
    connector = { type = "socks5" }, dialer = { type = "tcp" } } } } }, metadata = { a = "b" } } },
  { "services", { addr = "127.0.0.1:0", admission = "x", bypass = "x", resolver = "x", hosts = "x", limiter = "x",
    climiter = "x", rlimiter = "x", quotas = { "x" }, observer = "x",
    recorders = { { name = "x", record = "recorder.service.handler" } },
    handler = { type = "http", chain = "x", retries = 2, auther = "x", limiter = "x", metadata = { knock = "k.test" } },
    listener = { type = "tls", tls = { serverName = "s.test" }, metadata = { backlog = 64 } },
    metadata = { enableStats = true } } },
  { "services", { addr = "127.0.0.1:0", handler = { type = "tcp", chainGroup = { chains = { { chain = "x" } },
    selector = SELECTOR } }, listener = { type = "tcp" }, forwarder = { selector = SELECTOR, nodes = { {
      name = "n", addr = "127.0.0.1:1", network = "tcp", matcher = { rule = "Host(`a.test`)" },
      http = { host = "h.test", requestHeader = { ["X-A"] = "b" }, responseHeader = { ["X-C"] = "d" }, auth = AUTH,
        rewriteURL = { { Match = "/a", Replacement = "/b" } },
        rewriteResponseBody = { { Type = "text/html", Match = "a", Replacement = "b" } } },
      tls = { serverName = "s.test", secure = true, options = { minVersion = "VersionTLS12",
        maxVersion = "VersionTLS13", alpn = { "h2" } } },
      probe = PROBE, metadata = { a = "b" },
    } } } } },
}

-- What was sent and does not come back the same, as paths.
local function missing(sent, got, path, found)
  for key, value in pairs(sent) do
    local at = path .. "." .. key
    if type(value) == "table" and type(got[key]) == "table" then
      missing(value, got[key], at, found)
    elseif got[key] ~= value then
      found[#found + 1] = ("%s: %s came back as %s"):format(at, tostring(value), tostring(got[key]))
    end
  end
  return found
end

local p, a, folder

local function start(query)
  local port = programs.free_port()
  folder = programs.folder()
  p = proxy.start({ "-L", "http://127.0.0.1:0", "-api", ("me:pw@127.0.0.1:%d%s"):format(port, query or "") },
    { cwd = folder })
  programs.wait_port(port)
  a = api.new("http://127.0.0.1:" .. port, "me:pw")
end

describe("an object of the Web API", function()
  setup(function()
    start()
  end)

  teardown(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  for i, row in ipairs(OBJECTS) do
    it(("of %s keeps all it was given (%d)"):format(row[1], i), function()
      local path, object = "/config/" .. row[1], row[2]
      object.name = "x"
      local status, answer = a:json("POST", path, object)
      assert.equal(200, status, answer.msg)
      local _, shown = a:json("GET", path .. "/x")
      assert.same({}, missing(object, shown.data, row[1], {}))
      status, answer = a:json("PUT", path .. "/x", shown.data) -- as it was shown, its status with it
      assert.equal(200, status, answer.msg)
      local _, again = a:json("GET", path .. "/x")
      shown.data.status, again.data.status = nil, nil
      assert.same(shown, again)
      local _, yaml = a:ask("GET", "/config?format=yaml")
      assert.matches("\n" .. row[1] .. ":\n", "\n" .. yaml)
      assert.equal(200, (a:ask("GET", "/connections"))) -- it serves on
      if OBJECTS[i + 1] and OBJECTS[i + 1][1] == row[1] then
        assert.equal(200, (a:ask("DELETE", path .. "/x")))
      end
    end)
  end

  it("was kept in a state in which all that is referred to is there", function()
    assert.equal(200, (a:ask("POST", "/config?format=json&path=whole.json")))
    local result = proxy.run({ "check", "-C", "whole.json" }, { cwd = folder, seconds = 40 })
    assert.equal(0, result.code, result.stderr)
    assert.is_nil(p:log():find "raised")
  end)

  it("gets the defaults of what it left out", function()
    assert.equal(200, (a:json("POST", "/config/services", { name = "bare", addr = "127.0.0.1:0" })))
    local bare = select(2, a:json("GET", "/config/services/bare")).data
    assert.same({ "auto", "tcp" }, { bare.handler.type, bare.listener.type })
    assert.equal(200, (a:ask("DELETE", "/config/services/bare")))
    assert.equal(200, (a:json("POST", "/config/hops", { name = "bare", nodes = { { name = "n", addr = ":1" } } })))
    local node = select(2, a:json("GET", "/config/hops/bare")).data.nodes[1]
    assert.same({ "http", "tcp" }, { node.connector.type, node.dialer.type })
    assert.equal(200, (a:ask("DELETE", "/config/hops/bare")))
  end)

  it("of what is not reachable is not", function()
    for _, list in ipairs { "loggers", "rewriters", "tls", "log", "profiling", "api", "metrics", "nothing" } do
      assert.equal(404, (a:ask("GET", "/config/" .. list)), list)
      assert.equal(404, (a:ask("POST", "/config/" .. list, "{}")), list)
    end
  end)

  it("that cannot be built says why, with its kind and name", function()
    for _, row in ipairs {
      { "services", "service", '{"name":"bad","addr":"127.0.0.1:0","handler":{"type":"odd"}}' },
      { "chains", "chain", '{"name":"bad","hops":[{"name":"h","nodes":[{"name":"n","addr":":1",'
        .. '"dialer":{"type":"odd"}}]}]}' },
      { "hops", "hop", '{"name":"bad","nodes":[{"name":"n","addr":":1","connector":{"type":"odd"}}]}' },
    } do
      local status, answer = a:json("POST", "/config/" .. row[1], row[3])
      assert.same({ 500, 40003 }, { status, answer.code }, row[1])
      assert.matches(("^create %s bad failed: .*odd"):format(row[2]), answer.msg)
      assert.equal('{"data":null}', select(2, a:ask("GET", "/config/" .. row[1] .. "/bad")))
    end
  end)

  it("is written so that it may stand in a page", function()
    assert.equal(200, (a:json("POST", "/config/bypasses", { name = "html", matchers = { "<a&b>" } })))
    for _, path in ipairs { "/config/bypasses/html", "/config" } do
      local _, text = a:ask("GET", path)
      assert.matches("\\u003ca\\u0026b\\u003e", text, 1, true)
      assert.is_nil(text:find "[<>&]")
    end
    assert.equal(200, (a:ask("DELETE", "/config/bypasses/html")))
  end)

  it("of a quota keeps what it has counted when it is replaced, unless its time changes", function()
    local quota = { name = "kept", limit = "1MB" }
    assert.equal(200, (a:json("POST", "/config/quotas", quota)))
    local service = { name = "counted", addr = "127.0.0.1:0", quotas = { "kept" } }
    assert.equal(200, (a:json("POST", "/config/services", service)))
    assert.equal(200, (a:ask("POST", "/config/quotas/kept/reset", '{"used":77}')))
    quota.limit = "2MB"
    assert.equal(200, (a:json("PUT", "/config/quotas/kept", quota)))
    assert.equal(77, select(2, a:json("GET", "/config/quotas/kept")).data.status.used)
    assert.equal(200, (a:ask("DELETE", "/config/services/counted")))
    assert.equal(200, (a:ask("DELETE", "/config/quotas/kept")))
  end)
end)

describe("the whole configuration by the Web API", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("is JSON unless it is asked for as yaml", function()
    start()
    for _, query in ipairs { "", "?format=json", "?format=odd", "?format=YAML" } do
      local _, text, head = a:ask("GET", "/config" .. query)
      assert.matches("Content%-Type: application/json", head)
      assert.matches('^{\n  "services": %[\n    {\n.*}\n$', text)
    end
    local _, text, head = a:ask("GET", "/config?format=yaml")
    assert.matches("Content%-Type: text/x%-yaml", head)
    assert.matches("^services:\n", text)
    assert.equal(200, (a:ask("DELETE", "/config/services/service-0")))
    assert.equal(cjson.null, select(2, a:json("GET", "/config")).services)
    assert.matches("\nservices: ", "\n" .. select(2, a:ask("GET", "/config?format=yaml")))
  end)

  it("goes where it is told, by the name that there is, or into the working directory", function()
    start()
    for _, row in ipairs { { "", "gost.yaml", "yaml" }, { "?format=json", "gost.json", "json" },
      { "?format=YAML", "gost.yaml", "yaml" }, { "?path=a.json", "a.json", "json" }, { "?path=b", "b", "yaml" },
      { "?path=c.json&format=yaml", "c.json", "yaml" }, { "?path=d&format=JSON", "d", "json" } } do
      local status, text = a:ask("POST", "/config" .. row[1], "this is passed over")
      assert.same({ 200, '{"msg":"OK"}' }, { status, text }, row[1])
      local file = assert(io.open(folder .. "/" .. row[2]), row[2])
      assert.equal(row[3], file:read "*a":find "^%s*{" and "json" or "yaml", row[1])
      file:close()
      os.remove(folder .. "/" .. row[2])
    end
  end)

  it("has a prefix, however it is written", function()
    for _, prefix in ipairs { "v1", "/v1", "/v1/", "v1/" } do
      start("?pathPrefix=" .. prefix)
      assert.equal(200, (a:ask("GET", "/v1/config")), prefix)
      assert.equal(404, (a:ask("GET", "/config")), prefix)
      proxy.stop_all()
    end
  end)

  it("is for whom either the password or the auther accepts, who is told for what", function()
    local told
    local service = "http://" .. plane.accept(function(s)
      local head = s:read_until("\r\n\r\n", 4096)
      told = cjson.decode(s:read_exact(tonumber(head:lower():match "content%-length: (%d+)")))
      local body = cjson.encode { ok = told.username == "ann" }
      s:write(("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
      s:close()
    end) .. "/"
    local port = programs.free_port()
    folder = programs.folder()
    local path = programs.file(folder, "c.yml", ([[
api: {addr: "127.0.0.1:%d", auth: {username: me, password: pw}, auther: far}
authers: [{name: far, plugin: {type: http, addr: "%s"}}]
]]):format(port, service))
    proxy.start({ "-C", path }, { services = 0 })
    programs.wait_port(port)
    local base = "http://127.0.0.1:" .. port
    assert.equal(200, (api.new(base, "me:pw"):ask("GET", "/config")))
    assert.is_nil(told)
    assert.equal(200, (api.new(base, "ann:x"):ask("GET", "/config")))
    assert.same({ "@api", "ann", "x" }, { told.service, told.username, told.password })
    assert.matches("^127%.0%.0%.1", told.client)
    assert.equal(401, (api.new(base, "bob:x"):ask("GET", "/config")))
    assert.equal(401, (api.new(base):ask("GET", "/config")))
  end)

  it("refuses everybody where the auther that is named is not there", function()
    start()
    local port = programs.free_port()
    local path = programs.file(folder, "c.yml", ('api: {addr: "127.0.0.1:%d", auther: nobody}\n'):format(port))
    local result = proxy.run({ "-C", path }, { seconds = 40 })
    assert.equal(2, result.code)
    assert.matches("nobody", result.stderr)
  end)
end)
