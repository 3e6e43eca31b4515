-- The Web API of a whole tidegate, asked by curl.

local cjson = require "cjson"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local plane = require "spec.helpers.plane"

local p, base

-- @return status, body
local function ask(method, path, body, ...)
  local result = programs.run("curl", {
    "-s", "-m", "20", "-X", method, "-w", "\n%{http_code}", "-u", "me:secret",
    body and "--data-binary" or "-H", body or "X-Nothing: 1", base .. path, ...,
  })
  local text, status = result.stdout:match "^(.*)\n(%d+)$"
  return tonumber(status), text
end

local function json(method, path, body)
  local status, text = ask(method, path, body)
  return status, cjson.decode(text)
end

describe("the Web API", function()
  setup(function()
    local port = programs.free_port()
    base = "http://127.0.0.1:" .. port
    p = proxy.start({ "-L", "http://127.0.0.1:0", "-api", ("me:secret@127.0.0.1:%d"):format(port) })
  end)

  teardown(function()
    proxy.stop_all()
  end)

  it("asks for credentials", function()
    local result = programs.run("curl", { "-s", "-i", "-m", "20", base .. "/config" })
    assert.matches("^HTTP/1%.1 401 Unauthorized\r\nWWW%-Authenticate: Basic\r\n", result.stdout)
    assert.matches('{"code":401,"msg":"Unauthorized"}', result.stdout, 1, true)
  end)

  it("shows the configuration", function()
    local status, config = json("GET", "/config")
    assert.equal(200, status)
    assert.equal("http", config.services[1].handler.type)
    local _, yaml = ask("GET", "/config?format=yaml")
    assert.matches("^services:\n", yaml)
  end)

  it("creates, replaces and deletes a service that works at once", function()
    local target = plane.accept(function(s)
      s:read_until("\r\n\r\n", 4096)
      s:write "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
      s:close()
    end)
    local port = programs.free_port()
    local function through(scheme)
      return programs.run("curl", { "-s", "-m", "20", "-x", ("%s://127.0.0.1:%d"):format(scheme, port),
        "http://" .. target .. "/" }).stdout
    end
    local object = '{"name":"second","addr":"127.0.0.1:%d","handler":{"type":"%s"}}'
    assert.equal(200, (ask("POST", "/config/services", object:format(port, "socks5"))))
    assert.equal("hi", through "socks5h")
    local status, answer = json("POST", "/config/services", object:format(port, "socks5"))
    assert.equal(400, status)
    assert.same({ code = 40002, msg = "service second already exists" }, answer)
    assert.equal(200, (ask("PUT", "/config/services/second", object:format(port, "http"))))
    assert.equal("hi", through "http")
    status, answer = json("GET", "/config/services")
    assert.equal(200, status)
    assert.equal(2, answer.data.count)
    assert.equal(200, (ask("DELETE", "/config/services/second")))
    assert.equal("", through "http")
    status, answer = json("DELETE", "/config/services/second")
    assert.equal(400, status)
    assert.same({ code = 40004, msg = "service second not found" }, answer)
  end)

  it("says what is wrong and changes nothing", function()
    local status, answer = json("POST", "/config/services", '{"name":"bad","handler":{"type":"sock5"}}')
    assert.equal(500, status)
    assert.equal(40003, answer.code)
    assert.matches('create service bad failed: .*unknown handler "sock5"; did you mean', answer.msg)
    status, answer = json("POST", "/config/authers", '{"name":"a","reload":[1]}')
    assert.equal(400, status)
    assert.matches("^reload: must be a duration", answer.msg)
    assert.equal(1, select(2, json("GET", "/config/services")).data.count)
    assert.equal(cjson.null, select(2, json("GET", "/config/authers/a")).data)
  end)

  it("answers unknown paths and pages of other origins", function()
    local status, text = ask("GET", "/nothing")
    assert.equal(404, status)
    assert.equal("404 page not found", text)
    local result = programs.run("curl", { "-s", "-i", "-m", "20", "-X", "OPTIONS", "-H", "Origin: http://else.test",
      base .. "/config" })
    assert.matches("^HTTP/1%.1 204 No Content\r\nAccess%-Control%-Allow%-Origin: %*\r\n", result.stdout)
  end)

  it("refuses everybody when the auther of a service is gone", function()
    local port = programs.free_port()
    assert.equal(200, (ask("POST", "/config/authers", '{"name":"people","auths":[{"username":"a","password":"b"}]}')))
    assert.equal(200, (ask("POST", "/config/services",
      ('{"name":"fourth","addr":"127.0.0.1:%d","handler":{"type":"http","auther":"people"}}'):format(port))))
    local function status()
      return programs.run("curl", { "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", "-x",
        "http://a:b@127.0.0.1:" .. port, base .. "/config" }).stdout
    end
    assert.equal("401", status(), "the API's answer came through")
    assert.equal(200, (ask("DELETE", "/config/authers/people")))
    assert.equal("407", status())
  end)

  it("refuses connections of a service whose chain is gone", function()
    local port = programs.free_port()
    local chain = '{"name":"way","hops":[{"name":"h","nodes":[{"name":"n","addr":"127.0.0.1:%d"}]}]}'
    assert.equal(200, (ask("POST", "/config/chains", chain:format(p:port(1)))))
    assert.equal(200, (ask("POST", "/config/services",
      ('{"name":"third","addr":"127.0.0.1:%d","handler":{"type":"http","chain":"way"}}'):format(port))))
    assert.equal(200, (ask("DELETE", "/config/chains/way")))
    local result = programs.run("curl", { "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", "-x",
      "http://127.0.0.1:" .. port, base .. "/config" })
    assert.equal("503", result.stdout)
    p:logged 'there is no chain \\"way\\"'
  end)
end)
