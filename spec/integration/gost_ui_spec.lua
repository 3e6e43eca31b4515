-- What gost's web interface asks of the API, in its order and with its bodies: log in from a page of
-- another origin, read the configuration, create, edit, copy, disable, enable and delete objects, save.

local api = require "spec.helpers.api"
local cjson = require "cjson"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local ORIGIN = "http://ui.test:8000"

local a, folder, port

local function preflight(method, path, body)
  local status, _, head = api.new(a.base):ask("OPTIONS", path, nil, "-H", "Origin: " .. ORIGIN,
    "-H", "Access-Control-Request-Method: " .. method,
    "-H", "Access-Control-Request-Headers: authorization" .. (body and ",content-type" or ""))
  assert.equal(204, status)
  assert.matches("Access%-Control%-Allow%-Origin: %*\r\n", head)
  assert.matches("Access%-Control%-Allow%-Methods: [%u,]*" .. method, head)
  assert.matches("Access%-Control%-Allow%-Headers: %*\r\n", head)
end

local allowed = {} -- method → whether a browser has asked for it

-- As a browser asks on behalf of a page: with a preflight, since credentials and JSON are sent.
local function fetch(method, path, body)
  if not allowed[method] then
    preflight(method, path, body)
    allowed[method] = true
  end
  local status, answer, head = a:json(method, path, body, "-H", "Origin: " .. ORIGIN,
    "-H", "Content-Type: application/json", "-H", "Accept: application/json, text/plain, */*")
  assert.matches("Access%-Control%-Allow%-Origin: %*\r\n", head) -- or the page would not see the answer
  return status, answer
end

local function done(method, path, body)
  local status, answer = fetch(method, path, body)
  assert.same({ 200, { msg = "OK" } }, { status, answer }, method .. " " .. path)
end

-- The page reads everything from the whole configuration.
local function shown(list, name)
  local status, config = fetch("GET", "/config")
  assert.equal(200, status)
  for _, item in ipairs(config[list] or {}) do
    if item.name == name then
      return item
    end
  end
end

-- A plugin limits connections or requests neither here nor in gost, which passes over it.
local UNPLUGGED = { climiter = true, rlimiter = true }

local function loaded(name)
  return { { name = name .. "-file", file = { path = "/nowhere/" .. name } },
    { name = name .. "-redis", redis = { addr = "127.0.0.1:1", db = "1", password = "123456", key = "gost:x" } },
    { name = name .. "-http", http = { url = "http://127.0.0.1:1", timeout = "10s" } },
    not UNPLUGGED[name] and { name = name .. "-plugin", plugin = {
      type = "grpc", addr = "127.0.0.1:1", token = "gost", tls = {},
    } } or nil }
end

local function objects(first, name)
  local list = { first }
  for _, item in ipairs(name and loaded(name) or {}) do
    list[#list + 1] = item
  end
  return list
end

local function plugin(kind)
  return { type = kind, addr = kind == "http" and "http://127.0.0.1:1/x" or "127.0.0.1:1", token = "gost" }
end

-- What its templates offer.
local MODULES = {
  admissions = objects({ name = "admission-0", matchers = { "127.0.0.1", "192.168.0.0/16", "example.com" } },
    "admission"),
  authers = objects({ name = "auther-0", auths = { { username = "u", password = "p" } } }, "auther"),
  bypasses = objects({ name = "bypass-0", matchers = { "127.0.0.1", "172.10.0.0/16", "*.example.com" } }, "bypass"),
  chains = { { name = "chain-0", hops = { { name = "hop-0", nodes = { {
    name = "node-0", addr = "proxy.example:1080",
    connector = { type = "socks5", auth = { username = "username", password = "password" } },
    dialer = { type = "tcp", tls = { serverName = "proxy.example" } },
  } } } } } },
  climiters = objects({ name = "climiter-0", limits = { "$ 1000", "$$ 100", "192.168.1.1  10" } }, "climiter"),
  limiters = objects({ name = "limiter-0", limits = { "$ 100MB 100MB", "$$ 10MB", "192.168.1.1  512KB 1MB" } },
    "limiters"),
  rlimiters = objects({ name = "rlimiter-0", limits = { "$ 100", "$$ 10", "192.168.0.0/16  5" } }, "rlimiter"),
  hops = objects({ name = "hop-0", nodes = {
    { name = "node-0", addr = ":8888", connector = { type = "http" }, dialer = { type = "tcp" } },
    { name = "node-1", addr = ":9999", connector = { type = "socks5" }, dialer = { type = "tcp" } },
  } }, "hop"),
  hosts = objects({ name = "hosts-0", mappings = { { ip = "127.0.0.1", hostname = "example.com" } } }, "hosts"),
  ingresses = objects({ name = "ingress-0", rules = { { hostname = "example.com", endpoint = "4d21094e" } } },
    "ingress"),
  resolvers = { { name = "resolver-0", nameservers = { { addr = "udp://8.8.8.8:53", ttl = "60s" } } },
    { name = "resolver-1", plugin = plugin "grpc" } },
  sds = { { name = "sd-0", plugin = plugin "http" } },
  observers = { { name = "observer-0", plugin = plugin "grpc" } },
  services = {
    { name = "service-0", addr = "127.0.0.1:0", handler = { type = "socks5", chain = "chain-0" },
      listener = { type = "tcp" } },
    { name = "service-1", addr = "127.0.0.1:0", handler = { type = "tcp", metadata = { sniffing = "true" } },
      listener = { type = "tcp" }, forwarder = { nodes = { { name = "target-1", addr = "www.example.com:80",
        http = { host = "www.example.com" } } } } },
    { name = "service-2", addr = "127.0.0.1:0", metadata = { udp = "true" }, listener = { type = "tcp",
      metadata = { udp = "true" } }, handler = { type = "socks5", metadata = { udp = "true" } } },
  },
}

describe("gost's web interface", function()
  setup(function()
    folder, port = programs.folder(), programs.free_port()
    local path = programs.file(folder, "gost.json", cjson.encode {
      api = { addr = "127.0.0.1:" .. port, auth = { username = "me", password = "secret" } },
    })
    proxy.start({ "-C", path }, { services = 0, cwd = folder })
    programs.wait_port(port)
    a = api.new("http://127.0.0.1:" .. port, "me:secret")
  end)

  teardown(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("logs in", function()
    a.auth = "me:wrong"
    local status, answer = fetch("GET", "/config")
    assert.same({ 401, "Unauthorized" }, { status, answer.msg })
    a.auth = "me:secret"
    status, answer = fetch("GET", "/config")
    assert.equal(200, status)
    assert.equal(cjson.null, answer.services) -- no envelope, and always there
  end)

  for list, items in pairs(MODULES) do
    it("manages " .. list, function()
      local path = "/config/" .. list
      for _, item in ipairs(items) do
        done("POST", path, item)
        local object = assert(shown(list, item.name), item.name)
        -- edited as it was shown, but for its status
        object.status = nil
        done("PUT", path .. "/" .. item.name, object)
        local again = shown(list, item.name)
        again.status = nil
        assert.same(object, again)
        -- copied under a name that is taken, then under a free one
        local status, answer = fetch("POST", path, object)
        assert.same({ 400, 40002, "string" }, { status, answer.code, type(answer.msg) })
        object.name = item.name .. "-1"
        done("POST", path, object)
        done("DELETE", path .. "/" .. object.name)
        assert.is_nil(shown(list, object.name))
      end
    end)
  end

  it("disables a service, and enables it with all that it remembers of it", function()
    local record = assert(shown("services", "service-0"))
    assert.equal("ready", record.status.state)
    assert.equal("number", type(record.status.createTime))
    assert.matches("service service%-0 is", record.status.events[1].msg)
    done("DELETE", "/config/services/service-0")
    assert.is_nil(shown("services", "service-0"))
    record._id_, record._key_, record._type_ = 1, a.base, "services"
    done("POST", "/config/services", record)
    record = shown("services", "service-0")
    assert.equal("ready", record.status.state)
    assert.is_nil(record._id_)
  end)

  it("shows what is wrong", function()
    local status, answer = fetch("POST", "/config/services", {
      name = "bad", addr = "127.0.0.1:0", handler = { type = "nonsense" }, listener = { type = "tcp" },
    })
    assert.same({ 500, 40003 }, { status, answer.code })
    assert.matches("create service bad failed: .*nonsense", answer.msg)
    status, answer = fetch("PUT", "/config/chains/none", { name = "none" })
    assert.same({ 400, { code = 40004, msg = "chain none not found" } }, { status, answer })
  end)

  it("saves, by itself after each change as well", function()
    done("POST", "/config?format=json") -- no body; a path that is not set is left out
    local f = assert(io.open(folder .. "/gost.json"))
    local saved = cjson.decode(f:read "*a")
    f:close()
    assert.equal("service-0", saved.services[#saved.services].name)
    assert.is_nil(saved.services[1].status)
    done("POST", "/config?format=yaml&path=other.yaml")
    assert.is_truthy(io.open(folder .. "/other.yaml"))
    proxy.stop_all()
    proxy.start({ "-C", folder .. "/gost.json" }, { services = 3, cwd = folder })
    assert.is_truthy(shown("chains", "chain-0"))
  end)
end)
