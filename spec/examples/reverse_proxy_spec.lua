-- The example of a reverse proxy, run as its first lines say.

local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local proxy = require "spec.helpers.proxy"
local programs = require "spec.helpers.programs"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local LIMIT_MS = 20000
local PORTS = { site = "9001", api = "9002", secure = "9003", shell = "9022" }

local function web(name, body, fields)
  return plane.accept(function(s)
    while true do
      local head = s:read_until("\r\n\r\n", 65536)
      if not head then
        return
      end
      local host, path = head:match "\r\nHost: ([^\r]*)", head:match "^%S+ (%S+)"
      local text = ("%s %s %s %s"):format(name, host, path, body)
      s:write(("HTTP/1.1 200 OK\r\nServer: inside\r\n%sContent-Length: %d\r\n\r\n%s"):format(fields or "", #text, text))
    end
  end)
end

local function greeter(name, met)
  return plane.accept(function(s)
    s:peek(1)
    met[name] = true
    s:write(name)
    s:close()
  end)
end

describe("example reverse-proxy.yml", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    plane.cleanup()
    programs.stop_all()
  end))

  it("does what it says", helpers.task(function()
    local text = examples.read "examples/reverse-proxy.yml"
    text = text:gsub("127%.0%.0%.1:8080\n    handler", "127.0.0.1:0\n    handler")
    local met = {}
    local places = {
      site = web("site", "x"),
      api = web("api", '{"next":"http://api.internal/users"}', "Content-Type: application/json\r\n"),
      secure = greeter("secure", met),
      shell = greeter("shell", met),
    }
    for name, place in pairs(places) do
      text = text:gsub("127%.0%.0%.1:" .. PORTS[name], place)
    end
    local p = proxy.start({ "-C", programs.file(programs.folder(), "r.yml", text) }, { services = 1 })
    local where = "127.0.0.1:" .. p:port(1)
    local function say(bytes)
      local s = assert(stream.dial(where, nil, task.now() + LIMIT_MS))
      s:set_deadline(task.now() + LIMIT_MS)
      s:write(bytes)
      local answer = s:read() or ""
      s:close()
      return answer
    end

    local answer = say "GET /a HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
    assert.match("site www.example.com /a x", answer, 1, true)
    assert.not_match("Server", answer)
    answer = say "GET /v1/users HTTP/1.1\r\nHost: api.example.com\r\nX-Key: opensesame\r\n\r\n"
    assert.match('api api.internal /users {"next":"https://api.example.com/v1/users"}', answer, 1, true)
    assert.match("^HTTP/1.1 502", say "GET /v1/users HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    assert.same("shell", say "SSH-2.0-test\r\n")
    local result = programs.run("openssl", { "s_client", "-connect", where, "-servername", "a.example.com" },
      { seconds = 5, stdin = "" })
    assert.not_same(0, result.code)
    assert.is_true(met.secure)
    proxy.stop_all() -- with the connections it keeps
    plane.cleanup()
  end))
end)
