-- The Web API against what is known of gost's: endpoint by endpoint, error by error.

local api = require "spec.helpers.api"
local cjson = require "cjson"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local KINDS = {
  { "services", "service", { addr = "127.0.0.1:0", handler = { type = "socks5" } } },
  { "chains", "chain", { hops = { { name = "h", nodes = { { name = "n", addr = "127.0.0.1:1" } } } } } },
  { "hops", "hop", { nodes = { { name = "n", addr = "127.0.0.1:1" } } } },
  { "authers", "auther", { auths = { { username = "u", password = "p" } } } },
  { "admissions", "admission", { matchers = { "192.0.2.0/24" } } },
  { "bypasses", "bypass", { matchers = { "*.example.com" } } },
  { "resolvers", "resolver", { nameservers = { { addr = "127.0.0.1:1" } } } },
  { "hosts", "hosts", { mappings = { { ip = "192.0.2.1", hostname = "a.test" } } } },
  { "ingresses", "ingress", { rules = { { hostname = "a.test", endpoint = "e" } } } },
  { "routers", "router", { routes = { { dst = "192.0.2.0/24", gateway = "g" } } } },
  { "observers", "observer", { plugin = { type = "http", addr = "http://127.0.0.1:1/" } } },
  { "recorders", "recorder", { http = { url = "http://127.0.0.1:1/" } } },
  { "sds", "sd", { plugin = { type = "http", addr = "http://127.0.0.1:1/" } } },
  { "limiters", "limiter", { limits = { "$ 1MB" } } },
  { "climiters", "limiter", { limits = { "$ 10" } } },
  { "rlimiters", "limiter", { limits = { "$ 10" } } },
  { "quotas", "quota", { limit = "1GB" } },
  { "caches", "cache", { memory = { maxSize = 100 } } },
}

local p, a, folder

local function start(args)
  local port = programs.free_port()
  table.insert(args, "-api")
  table.insert(args, ("me:secret@127.0.0.1:%d"):format(port))
  folder = programs.folder()
  p = proxy.start(args, { cwd = folder })
  a = api.new("http://127.0.0.1:" .. port, "me:secret")
  programs.wait_port(port)
end

local function with(object, fields)
  local made = {}
  for _, from in ipairs { object, fields } do
    for key, value in pairs(from) do
      made[key] = value
    end
  end
  return made
end

describe("the Web API, as gost has it,", function()
  setup(function()
    start { "-L", "http://127.0.0.1:0" }
  end)

  teardown(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  for _, kind in ipairs(KINDS) do
    local list, word, object = kind[1], kind[2], kind[3]
    local path = "/config/" .. list

    it("creates, shows, replaces and deletes of " .. list, function()
      local status, answer = a:json("POST", path, with(object, { name = " \t" }))
      assert.same({ 400, { code = 40001, msg = word .. " name is required" } }, { status, answer })
      status, answer = a:json("PUT", path .. "/x-1", object)
      assert.same({ 400, { code = 40004, msg = word .. " x-1 not found" } }, { status, answer })
      status, answer = a:json("DELETE", path .. "/x-1")
      assert.same({ 400, { code = 40004, msg = word .. " x-1 not found" } }, { status, answer })
      local text
      status, text = a:ask("GET", path .. "/x-1")
      assert.same({ 200, '{"data":null}' }, { status, text })
      if list ~= "services" then
        status, text = a:ask("GET", path)
        assert.same({ 200, '{"data":{"count":0,"list":null}}' }, { status, text })
      end

      local head
      status, text, head = a:ask("POST", path, cjson.encode(with(object, { name = " x-1 " })))
      assert.same({ 200, '{"msg":"OK"}' }, { status, text })
      assert.matches("Content%-Type: application/json; charset=utf%-8\r\n", head)
      status, answer = a:json("POST", path, with(object, { name = "x-1" }))
      assert.same({ 400, { code = 40002, msg = word .. " x-1 already exists" } }, { status, answer })
      status, answer = a:json("GET", path .. "/x-1")
      assert.equal(200, status)
      assert.equal("x-1", answer.data.name)
      assert.equal(200, (a:json("PUT", path .. "/x-1", with(object, { name = "another" }))))
      assert.equal("x-1", select(2, a:json("GET", path .. "/x-1")).data.name)
      _, answer = a:json("GET", path)
      assert.equal(#answer.data.list, answer.data.count)
      assert.equal(200, (a:ask("DELETE", path .. "/x-1")))
      assert.equal('{"data":null}', select(2, a:ask("GET", path .. "/x-1")))
    end)
  end

  it("refuses a cache without a backend", function()
    assert.same({ 400, { code = 40001, msg = "cache has no backend configured" } },
      { unpack({ a:json("POST", "/config/caches", { name = "c" }) }, 1, 2) })
  end)

  it("tells the state of services", function()
    assert.equal(200, (a:ask("POST", "/config/services", cjson.encode {
      name = "counted", addr = "127.0.0.1:0", handler = { type = "http" }, metadata = { enableStats = true },
    })))
    local _, answer = a:json("GET", "/config/services/counted")
    local status = answer.data.status
    assert.equal("ready", status.state)
    assert.is_true(math.abs(status.createTime - os.time()) < 60)
    assert.equal("service counted is ready", status.events[2].msg)
    assert.same({ totalConns = 0, currentConns = 0, totalErrs = 0, inputBytes = 0, outputBytes = 0 }, status.stats)
    local _, whole = a:json("GET", "/config")
    assert.equal("ready", whole.services[2].status.state)
    assert.is_nil(whole.services[1].status.stats)
    assert.equal(200, (a:ask("DELETE", "/config/services/counted")))
  end)

  it("shows quotas and resets them", function()
    assert.equal(200, (a:ask("POST", "/config/quotas", '{"name":"q","limit":"2KB","store":{"file":"q.json"}}')))
    assert.equal(200, (a:ask("POST", "/config/services", cjson.encode {
      name = "limited", addr = "127.0.0.1:0", handler = { type = "http" }, quotas = { "q" },
    })))
    assert.equal(200, (a:ask("POST", "/config/quotas/q/reset", '{"used":5000}')))
    local _, answer = a:json("GET", "/config/quotas/q")
    assert.same({ used = 5000, limit = 2000, active = true, blocked = true, direction = "total" },
      with(answer.data.status, { limit = 2000 }))
    _, answer = a:json("GET", "/config/services/limited")
    assert.is_true(answer.data.status.stoppedByLimit)
    assert.equal("q", answer.data.status.quotas[1].name)
    assert.equal(200, (a:ask("POST", "/config/quotas/q/reset")))
    _, answer = a:json("GET", "/config/services/limited")
    assert.is_nil(answer.data.status.stoppedByLimit)
    assert.equal(0, answer.data.status.quotas[1].used)
    local status
    status, answer = a:json("POST", "/config/quotas/none/reset")
    assert.same({ 400, { code = 40004, msg = "quota none not found" } }, { status, answer })
    assert.equal(400, (a:ask("POST", "/config/quotas/q/reset", '{"used":-1}')))
    assert.equal(200, (a:ask("DELETE", "/config/services/limited")))
    assert.equal(200, (a:ask("DELETE", "/config/quotas/q")))
  end)

  it("redirects paths that differ by a slash, and knows no others", function()
    local status, _, head = a:ask("GET", "/config/services/?x=1")
    assert.equal(301, status)
    assert.matches("Location: /config/services%?x=1\r\n", head)
    assert.equal(307, (a:ask("POST", "/config/services/", "{}")))
    local text
    status, text, head = a:ask("PATCH", "/config")
    assert.same({ 404, "404 page not found" }, { status, text })
    assert.matches("Content%-Type: text/plain\r\n", head)
  end)

  it("answers pages of other origins", function()
    local _, _, head = a:ask("GET", "/config", nil, "-H", "Origin: http://else.test")
    assert.matches("Access%-Control%-Allow%-Origin: %*\r\n", head)
    _, _, head = a:ask("GET", "/config", nil, "-H", "Origin: " .. a.base)
    assert.is_nil(head:find "Access%-Control")
    local open = api.new(a.base)
    local status
    status, _, head = open:ask("OPTIONS", "/anything", nil, "-H", "Origin: http://else.test")
    assert.equal(204, status)
    assert.matches("Access%-Control%-Allow%-Methods: GET,POST,PUT,DELETE,OPTIONS\r\n", head)
    assert.matches("Access%-Control%-Allow%-Private%-Network: true\r\n", head)
  end)

  it("names the field that has the wrong type, and takes durations as text", function()
    local status, answer = a:json("POST", "/config/bypasses", '{"name":"b","matchers":"x","reload":{}}')
    assert.equal(400, status)
    assert.equal(40001, answer.code)
    assert.equal(200, (a:ask("POST", "/config/bypasses", '{"NAME":"b","Matchers":["x"],"reload":"10s","odd":1}')))
    assert.equal(10e9, select(2, a:json("GET", "/config/bypasses/b")).data.reload)
    assert.equal(200, (a:ask("DELETE", "/config/bypasses/b")))
    status, answer = a:json("POST", "/config/bypasses", '{"name"')
    assert.equal(400, status)
    assert.matches("^the body is not JSON", answer.msg)
  end)

  it("keeps the old service when a new one cannot be", function()
    local taken = plane.accept(function(s) s:close() end)
    local status, answer = a:json("POST", "/config/services", { name = "t", addr = taken, handler = { type = "http" } })
    assert.equal(500, status)
    assert.equal(40003, answer.code)
    assert.matches("^create service t failed: ", answer.msg)
    local port = programs.free_port()
    local service = { name = "t", addr = "127.0.0.1:" .. port, handler = { type = "http" } }
    assert.equal(200, (a:json("POST", "/config/services", service)))
    status = a:json("PUT", "/config/services/t", with(service, { addr = taken }))
    assert.equal(500, status)
    assert.equal("127.0.0.1:" .. port, select(2, a:json("GET", "/config/services/t")).data.addr)
    programs.wait_port(port)
    assert.equal(200, (a:ask("DELETE", "/config/services/t")))
  end)

  it("shows the configuration without its secrets when asked", function()
    assert.equal(200, (a:json("POST", "/config/authers", {
      name = "keep", auths = { { username = "ann", password = "hush-hush" } },
      http = { url = "http://root:hush-hush@127.0.0.1:1/" },
    })))
    local _, text = a:ask("GET", "/config?format=yaml&mask=true")
    assert.matches("username: ann", text)
    assert.is_nil(text:find "hush%-hush")
    assert.is_nil(text:find "secret")
    _, text = a:ask("GET", "/config/authers/keep?mask=true")
    assert.matches('"password":"%*%*%*"', text)
    assert.matches("hush%-hush", select(2, a:ask("GET", "/config/authers/keep")))
    assert.equal(200, (a:ask("DELETE", "/config/authers/keep")))
    assert.is_nil(p:log():find "hush%-hush")
  end)
end)
