-- Documentation of the API, profiling, the API as a service, and what the admin plane refuses.

local api = require "spec.helpers.api"
local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local port, a

local function start(...)
  port = programs.free_port()
  local args = { ... }
  for i, text in ipairs(args) do
    args[i] = text:gsub("PORT", tostring(port))
  end
  local p = proxy.start(args)
  programs.wait_port(port)
  a = api.new("http://127.0.0.1:" .. port)
  return p
end

-- What a raw request is answered.
local function raw(text, to)
  local s = assert(stream.dial("127.0.0.1:" .. (to or port), nil, task.now() + 20000))
  s:set_deadline(task.now() + 10000)
  s:write(text)
  local got = {}
  repeat
    local piece = s:read(65536)
    got[#got + 1] = piece
  until not piece
  s:close()
  return table.concat(got)
end

describe("the admin plane", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("documents itself", function()
    start("-L", "http://127.0.0.1:0", "-api", "me:pw@127.0.0.1:PORT?pathPrefix=/v1")
    local status, text, head = a:ask("GET", "/v1/docs/")
    assert.equal(200, status)
    assert.matches("Content%-Type: text/html", head)
    assert.matches("/config/services/{service}", text, 1, true)
    assert.is_nil(text:find "https?://")
    assert.equal(301, (a:ask("GET", "/v1/docs")))
    status, text, head = a:ask("GET", "/v1/docs/swagger.yaml")
    assert.equal(200, status)
    assert.matches("Content%-Type: application/yaml", head)
    assert.matches('^basePath: /v1\n', text)
    assert.matches('\nswagger: "2.0"\n', text, 1, true)
    assert.matches("\n  /config/quotas/{quota}/reset:\n", text, 1, true)
    assert.matches("\n  chain_group:\n", text, 1, true)
    assert.equal(404, (a:ask("GET", "/config")))
    assert.equal(401, (a:ask("GET", "/v1/config")))
  end)

  it("profiles on this machine only", function()
    local folder = programs.folder()
    port = programs.free_port()
    local path = programs.file(folder, "gate.yml", ("profiling: {addr: ':%d'}\n"):format(port))
    local p = proxy.start({ "-C", path, "-L", "http://127.0.0.1:0" })
    programs.wait_port(port)
    a = api.new("http://127.0.0.1:" .. port)
    local _, text = a:ask("GET", "/debug/pprof/cmdline")
    assert.matches("tidegate%z%-%-workers%z2%z", text)
    local status
    status, text = a:ask("GET", "/debug/pprof/profile?seconds=0.3&worker=1")
    assert.equal(200, status)
    for line in text:gmatch "[^\n]+" do
      assert.matches("^worker 1;.+ %d+$", line)
    end
    local busy = programs.start("curl", { "-s", "-o", "/dev/null", "-x", "http://127.0.0.1:" .. p:port(1),
      ("http://127.0.0.1:%d/x?[1-9000000]"):format(port) })
    local of_worker, of_control
    helpers.eventually(function() -- C is looked at as well, in all threads at once
      status, text = a:ask("GET", "/debug/pprof/profile?seconds=0.3&stacks=c")
      assert.equal(200, status)
      for line in text:gmatch "[^\n]+" do
        assert.matches("^%l+ ?%d?;.+ %d+$", line)
      end
      of_worker = of_worker or text:find "worker %d;[^\n]*tg_vm_run;"
      of_control = of_control or text:find "control;[^\n]*main;tg_vm_run;"
      return of_worker and of_control
    end, "no stacks of C", 20)
    busy:stop()
    status, text = a:ask("GET", "/debug/pprof/profile?stacks=odd")
    assert.same({ 400, 'there are no stacks of "odd"; lua and c are\n' }, { status, text })
    assert.equal(400, (a:ask("GET", "/debug/pprof/profile?seconds=1000")))
    assert.equal(404, (a:ask("GET", "/debug/pprof/heap")))
    local listening = programs.run("ss", { "-ltnH", "sport = :" .. port })
    if listening.code == 0 then
      assert.matches("127%.0%.0%.1:", listening.stdout)
    end
  end)

  it("is a service as well", function()
    local p = proxy.start { "-L", "api://me:pw@127.0.0.1:0?pathPrefix=/x&accessLog=true", "-L", "http://127.0.0.1:0" }
    local own = api.new("http://127.0.0.1:" .. p:port(1), "me:pw")
    local status, answer = own:json("GET", "/x/config/services")
    assert.equal(200, status)
    assert.equal(2, answer.data.count)
    assert.equal(200, (own:ask("POST", "/x/config/bypasses", '{"name":"b","matchers":["a.test"]}')))
    assert.equal("b", select(2, own:json("GET", "/x/config/bypasses/b")).data.name)
    assert.equal(1, select(2, own:json("GET", "/x/connections?service=service-0")).data.count)
    assert.equal(200, (own:ask("GET", "/x/nodes")))
    assert.equal(200, (own:ask("POST", "/x/services/service-1/drain")))
    assert.equal(200, (own:ask("POST", "/x/services/service-1/undrain")))
    assert.equal(403, (own:ask("POST", "/x/eval", "1")))
    local stacks
    status, stacks = own:ask("GET", "/x/profile?seconds=0.2&worker=1")
    assert.equal(200, status)
    assert.is_true(stacks == "" or stacks:find "^worker 1;" ~= nil, stacks)
    assert.equal(400, (own:ask("GET", "/x/profile?seconds=51")))
    local stranger = api.new(own.base)
    local said, head
    for _, auth in ipairs { "", "me:wrong", "other:pw" } do
      stranger.auth = auth ~= "" and auth or nil
      for _, path in ipairs { "config", "connections", "nodes", "events", "profile", "ui/", "config/services/x" } do
        status, said, head = stranger:ask("GET", "/x/" .. path)
        assert.same({ 401, "Unauthorized" }, { status, said:match "Unauthorized" }, path)
        assert.matches("WWW%-Authenticate: Basic\r\n", head)
      end
      assert.equal(401, (stranger:ask("POST", "/x/eval", "1")))
      assert.equal(401, (stranger:ask("DELETE", "/x/config/services/service-1")))
      assert.equal(404, (stranger:ask("GET", "/elsewhere")))
      assert.equal(200, (stranger:ask("GET", "/x/docs/"))) -- as on an address of the API's own
      assert.equal(204, (stranger:ask("OPTIONS", "/x/config", nil, "-H", "Origin: http://else.test")))
    end
    p:logged '"uri":"/x/config/services","code":200'
    assert.is_nil(p:log():find "raised")
  end)

  it("tells what happens over a service too", function()
    local p = proxy.start {
      "-L", "api://me:pw@127.0.0.1:0?eval=true", "-L", "tcp://127.0.0.1:0/127.0.0.1:9",
      "-L", "api://127.0.0.1:0?eval=true",
    }
    local own = api.new("http://127.0.0.1:" .. p:port(1), "me:pw")
    local watchers = {}
    for i = 1, 3 do
      watchers[i] = programs.start("curl", { "-s", "-N", "-u", "me:pw", own.base .. "/events?kinds=open,close,state" },
        { ready = "welcome" })
    end
    watchers[3]:stop() -- who leaves is forgotten
    own:ask("POST", "/services/service-1/drain")
    for i = 1, 2 do
      helpers.eventually(function()
        return watchers[i].stdout:find 'event: state\ndata: [^\n]*"service%-1"'
          and watchers[i].stdout:find "event: open\ndata: [^\n]*service%-0"
      end, "not told", 10)
      assert.is_nil(watchers[i].over)
    end
    assert.equal(400, (own:ask("GET", "/events?kinds=odd")))
    assert.same({ { ok = true, text = "2" } }, select(2, own:json("POST", "/eval", "1+1")).data)
    assert.equal(403, (api.new("http://127.0.0.1:" .. p:port(3)):ask("POST", "/eval", "1+1"))) -- anybody might ask
    assert.is_nil(p:log():find "raised")
  end)

  it("starts alone, by a flag, by the environment, on a unix socket", function()
    start("-api", "127.0.0.1:PORT")
    assert.equal(200, (a:ask("GET", "/config")))
    assert.equal('{"data":{"count":0,"list":null}}', select(2, a:ask("GET", "/config/services")))
    proxy.stop_all()
    port = programs.free_port()
    proxy.start({ "-L", "http://127.0.0.1:0" }, { env = { GOST_API = "127.0.0.1:" .. port } })
    assert.equal(200, (api.new("http://127.0.0.1:" .. port):ask("GET", "/config")))
    proxy.stop_all()
    local folder = programs.folder()
    local socket = folder .. "/api.sock"
    programs.file(folder, "mine", "text")
    local path = programs.file(folder, "gate.yml", ("api: {addr: 'unix://%s', accesslog: true}\n"):format(socket))
    local p = proxy.start({ "-C", path, "-L", "http://127.0.0.1:0" })
    local result = programs.run("curl", { "-s", "-m", "20", "--unix-socket", socket, "http://x/config/services" })
    assert.matches('"count":1', result.stdout, 1, true)
    p:logged '"kind":"api","method":"GET","uri":"/config/services","code":200,"client":'
  end)

  it("lets nobody in by odd paths, methods or heads", function()
    start("-L", "http://127.0.0.1:0", "-api", "me:pw@127.0.0.1:PORT")
    for _, path in ipairs {
      "/docs/../config", "//config", "/./config", "/config//services", "/%63onfig", "/docs/%2e%2e/config",
      "/config/services?x", "/config/%2e", "/config/../docs", "/config;x", "/docs/..%2fconfig", "/config%00",
      "/config/services/", "/CONFIG", "/docs/swagger.yaml/../../config", "/eval", "/connections", "/nodes", "/events",
      "http://else/config",
    } do
      for _, method in ipairs { "GET", "POST", "PUT", "DELETE" } do
        local text = raw(("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):format(method, path))
        local status = text:match "^HTTP/1%.1 (%d+)"
        assert.is_true(status == "401" or status == "404" or status == "301" or status == "307" or status == "400",
          method .. " " .. path .. ": " .. text:sub(1, 60))
        assert.is_nil(text:find '"services"', path)
      end
    end
    for _, auth in ipairs { "Basic", "Basic ", "Basic !!!", "Basic bWU=", "Bearer bWU6cHc=", "basic bWU6", "Digest x=y",
      "Basic bWU6cHc=, Basic bWU6", "Basic OnB3", "Basic bWU6cHcA" } do
      assert.matches("^HTTP/1%.1 401 ", raw(("GET /config HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n"
        .. "Connection: close\r\n\r\n"):format(auth)), auth)
    end
    assert.matches("^HTTP/1%.1 200 ", raw("GET /config HTTP/1.1\r\nHost: x\r\nAuthorization: basic bWU6cHc=\r\n"
      .. "Connection: close\r\n\r\n"))
    -- two sizes, or none that can be understood
    assert.matches("^HTTP/1%.1 400 ", raw("POST /config HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
      .. "Content-Length: 6\r\n\r\n"))
  end)

  it("takes bodies in pieces, and is not hurt by odd ones", function()
    local p = start("-L", "http://127.0.0.1:0", "-api", "me:pw@127.0.0.1:PORT")
    a.auth = "me:pw"
    assert.equal(200, (a:ask("POST", "/config/bypasses", '{"name":"b"}', "-H", "Transfer-Encoding: chunked")))
    local long = {}
    for i = 1, 20000 do
      long[i] = ('"%d.test"'):format(i)
    end
    assert.equal(200, (a:ask("PUT", "/config/bypasses/b", '{"matchers":[' .. table.concat(long, ",") .. "]}",
      "-H", "Expect: 100-continue")))
    for _, body in ipairs { ("["):rep(500000), ('{"a":'):rep(100000), "\0\0", '"x"', "null", "[]", '{"name":1}',
      '{"name":"' .. ("n"):rep(100000) .. '"}', '{"name":"b\\u0000c"}', '{"name":"../../etc"}',
      '{"name":"\255\254"}' } do
      local status, text = a:ask("POST", "/config/bypasses", body)
      assert.is_true(status == 400 or status == 200, body:sub(1, 20) .. ": " .. status .. " " .. text:sub(1, 100))
    end
    assert.equal(200, (a:ask("GET", "/config")))
    assert.equal(400, (a:ask("POST", "/config/quotas/none/reset", ("["):rep(100000))))
    assert.is_nil(p:log():find "raised")
  end)

  it("says no password when it complains", function()
    local result = proxy.run { "check", "-L", "http://ann:hush@127.0.0.1:0?odd=1", "-F",
      "socks5://bob:hush@x:1?strange=2", "-L", "ss://aGVsbG86aHVzaA==@127.0.0.1:0?odd=1" }
    assert.matches("odd", result.stderr)
    assert.is_nil(result.stderr:find "hush")
    assert.is_nil(result.stderr:find "aGVsbG8")
  end)

  it("reads no body of a stranger, and none that is too long of anybody", function()
    local p = start("-L", "http://127.0.0.1:0", "-api", "me:pw@127.0.0.1:PORT")
    local text = raw("POST /config/services HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n")
    assert.matches("^HTTP/1%.1 401 .*Connection: close\r\n", text)
    text = raw("POST /config/services HTTP/1.1\r\nHost: x\r\nAuthorization: Basic bWU6cHc=\r\n"
      .. "Content-Length: 99999999999\r\n\r\n")
    assert.matches("^HTTP/1%.1 413 ", text)
    text = raw("GET /" .. ("a"):rep(100000) .. " HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.matches("^HTTP/1%.1 4", text)
    assert.equal(401, (a:ask("GET", "/config")))
    assert.is_nil(p:log():find "raised")
  end)
end)
