-- Who is let in by a whole tidegate.

local base64 = require "tidegate.net.http.base64"
local cjson = require "cjson"
local head = require "tidegate.net.http.head"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local in_task = helpers.task

local function start(config, services)
  local _, count = config:gsub("addr:", "")
  count = services or count
  return proxy.start({ "-C", programs.file(programs.folder(), "c.yaml", config) }, { services = count })
end

-- The status of a request through the proxy, by credentials or none.
local function ask(p, index, credentials)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(index), nil, task.now() + 20000))
  s:set_deadline(task.now() + 20000)
  s:write("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n", credentials
    and "Proxy-Authorization: Basic " .. base64.encode(credentials) .. "\r\n" or "", "\r\n")
  local line = s:read_until("\r\n", 1000)
  s:close()
  return line and line:match " (%d+) "
end

local BCRYPT = "$2b$06$xeakvh6NO1wJZ9KHDm3a4uB3AAeBXrIR04NPY1meFMq1PFnhcqLty" -- of "secret"
local SLOW = "$6$rounds=900000$tidegate$OUmYlJTlUMeYIJPVt/MWGqKziFXibnuX2L" -- the same
  .. "kN1VWTG2uJqmSmmq2Z/lOl8j4zgs63j4Aeu7GvEDNXkoNju0RwT."

describe("authentication", function()
  after_each(in_task(function()
    proxy.stop_all()
    plane.cleanup()
    programs.stop_all()
  end))

  it("is what each handler says: one user, a group, or nobody asked", in_task(function()
    local p = start([[
services:
- { name: a, addr: "127.0.0.1:0", handler: { type: http, auth: { username: u, password: "p:w" } } }
- name: b
  addr: "127.0.0.1:0"
  handler: { type: http, auther: one, authers: [two], auth: { username: u, password: p } }
- { name: c, addr: "127.0.0.1:0", handler: { type: http } }
- { name: d, addr: "127.0.0.1:0", handler: { type: http, auther: none } }
- name: e
  addr: "127.0.0.1:0"
  handler: { type: http, auther: none, metadata: { skipauth: "10.0.0.0/8,127.0.0.0/8" } }
authers:
- { name: one, auths: [ { username: ann, password: a } ] }
- name: two
  auths: [ { username: ann, password: b }, { username: bob, password: "]] .. BCRYPT .. [[" }, { username: open } ]
- { name: none }
]])
    local cases = {
      { 1, "u:p:w", "503" }, { 1, "u:x", "407" }, { 1, nil, "407" }, { 1, ":", "407" },
      { 2, "ann:a", "503" }, { 2, "ann:b", "503" }, { 2, "ann:c", "407" }, { 2, "bob:secret", "503" },
      { 2, "bob:" .. BCRYPT, "407" }, { 2, "open:any", "503" }, { 2, "u:p", "407" },
      { 3, nil, "503" }, { 3, "x:y", "503" },
      { 4, "x:y", "407" }, { 4, ":", "407" },
      { 5, nil, "503" },
    }
    for i, case in ipairs(cases) do
      assert.equal(case[3], ask(p, case[1], case[2]), i)
    end
  end))

  it("asks plugins for whom they decide: a service, the API, the metrics", in_task(function()
    local seen = {}
    local plugin = plane.accept(function(s)
      local request = head.request(s)
      while request do
        local question = cjson.decode(s:read_exact(request.length))
        seen[#seen + 1] = question
        local answer = cjson.encode { ok = question.password == "good", id = "id" }
        s:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#answer, answer))
        request = head.request(s)
      end
      s:close()
    end)
    local api, metrics = programs.free_port(), programs.free_port()
    local p = start(([[
services: [{name: front, addr: "127.0.0.1:0", handler: {type: http, auther: a}}]
authers: [{name: a, plugin: {type: http, addr: "http://%s"}}]
api: {auther: a, address: 1}
metrics: {auther: a, address: 1}
]]):format(plugin):gsub("address: 1}\nm", "addr: '127.0.0.1:" .. api .. "'}\nm")
      :gsub("address: 1", "addr: '127.0.0.1:" .. metrics .. "'"), 1)
    assert.equal("503", ask(p, 1, "ann:good"))
    assert.equal("407", ask(p, 1, "ann:bad"))
    for _, where in ipairs { ("%d/config"):format(api), ("%d/metrics"):format(metrics) } do
      for password, status in pairs { good = "200", bad = "401" } do
        assert.equal(status, programs.output("curl", { "-s", "-o", "/dev/null", "-w", "%{http_code}", "-u",
          "ann:" .. password, "http://127.0.0.1:" .. where }))
      end
    end
    local services = {}
    for _, question in ipairs(seen) do
      services[question.service] = (services[question.service] or 0) + 1
      assert.equal("ann", question.username)
      assert.matches("^127%.0%.0%.1:%d+$", question.client)
    end
    assert.same({ front = 2, ["@api"] = 2, ["@metrics"] = 2 }, services)
    p:stop()
  end))

  it("locks out for all workers, and through a reload", in_task(function()
    local p = start [[
services:
- { name: a, addr: "127.0.0.1:0", handler: { type: http, auther: people } }
authers:
- name: people
  auths: [ { username: ann, password: a }, { username: bob, password: b } ]
  lockout: { failures: 3, window: 1m, duration: 1m }
]]
    for _ = 1, 3 do
      assert.equal("407", ask(p, 1, "ann:wrong"))
    end
    for _ = 1, 8 do -- whichever worker takes it
      assert.equal("407", ask(p, 1, "ann:a"))
    end
    assert.equal("503", ask(p, 1, "bob:b"))
    p:logged 'user \\"ann\\" from 127.0.0.1 is locked out for 60s after 3 failures'
    p:kill "sighup"
    p:logged "configuration reloaded"
    assert.equal("407", ask(p, 1, "ann:a"))
    assert.equal("503", ask(p, 1, "bob:b"))
  end))

  it("by slow hashes does not hold others up", in_task(function()
    local p = start(([[
services:
- { name: a, addr: "127.0.0.1:0", handler: { type: http, auther: slow } }
- { name: b, addr: "127.0.0.1:0", handler: { type: http, auth: { username: u, password: p } } }
authers:
- { name: slow, auths: [ { username: ann, password: "%s" } ] }
]]):format(SLOW))
    local hashing, worst
    for round = 1, 3 do -- a busy machine may hold us up, but not each time
      local answers, begun = {}, task.now()
      for i = 1, 6 do
        answers[i] = helpers.spawn(ask, p, 1, ("ann:guess %d %d"):format(round, i))
      end
      worst = 0
      for _ = 1, 10 do
        local before = task.now()
        assert.equal("503", ask(p, 2, "u:p"))
        worst = math.max(worst, task.now() - before)
        task.sleep(0.02)
      end
      for i = 1, 6 do
        assert.equal("407", answers[i]())
      end
      hashing = task.now() - begun
      assert.truthy(hashing > 600, hashing)
      if worst < hashing / 4 then
        break
      end
    end
    assert.truthy(worst < hashing / 4, worst)
    assert.equal("503", ask(p, 1, "ann:secret"))
    local before = task.now()
    for _ = 1, 4 do -- remembered by the worker that knows it, learned by the other
      assert.equal("503", ask(p, 1, "ann:secret"))
    end
    assert.truthy(task.now() - before < hashing)
  end))
end)
