-- What the Web API knows of the running process: connections, nodes, events; draining, saving.

local api = require "spec.helpers.api"
local cjson = require "cjson"
local helpers = require "spec.helpers"
local luv = require "luv"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local function start(text)
  local folder = programs.folder()
  local port = programs.free_port()
  local path = programs.file(folder, "gate.yml", (text:gsub("PORT", tostring(port))))
  local p = proxy.start({ "-C", path }, { services = 0, cwd = folder })
  programs.wait_port(port)
  return p, api.new("http://127.0.0.1:" .. port, "me:secret"), folder, path
end

local WHOLE = [[
log: {level: warn}
services:
- name: front
  addr: 127.0.0.1:0
  handler: {type: http, auth: {username: ann, password: pw}}
api: {addr: "127.0.0.1:PORT", auth: {username: me, password: secret}}
]]

-- A tunnel through an HTTP proxy.
local function tunnel(port, target)
  local s = assert(stream.dial("127.0.0.1:" .. port, nil, task.now() + 20000))
  assert(s:write(("CONNECT %s HTTP/1.1\r\nProxy-Authorization: Basic YW5uOnB3\r\n\r\n"):format(target)))
  assert.matches(" 200 ", assert(s:read_until("\r\n\r\n", 4096)))
  return s
end

local function port_of(a, name)
  local _, answer = a:json("GET", "/config/services/" .. name)
  return answer.data.addr:match ":(%d+)$"
end

describe("the Web API of what is live", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("lists connections, filters them, and closes one", function()
    local p, a = start((WHOLE:gsub("127.0.0.1:0", "127.0.0.1:" .. programs.free_port())))
    local target = plane.accept(function(s)
      s:write "hello\n"
      s:read_until("\n", 100)
      s:close()
    end)
    local port = port_of(a, "front")
    programs.wait_port(port)
    local streams = {}
    for i = 1, 3 do
      streams[i] = tunnel(port, target)
      assert.equal("hello\n", streams[i]:read_until("\n", 100))
    end
    local answer
    helpers.eventually(function()
      answer = select(2, a:json("GET", "/connections?host=" .. target)).data
      return answer.total == 3 and answer.list[1].outputBytes >= 5
    end, "not three connections")
    assert.equal(3, answer.count)
    local one = answer.list[1]
    assert.equal("front", one.service)
    assert.equal("ann", one.user)
    assert.equal("relay", one.state)
    assert.equal(target, one.host)
    assert.equal(20, #one.sid)
    assert.matches("^127%.0%.0%.1:%d+$", one.client)
    assert.is_true(one.age < 60)
    local _, page = a:json("GET", "/connections?limit=2&service=front&user=ann&offset=2")
    assert.equal(1, page.data.count)
    assert.equal(3, page.data.total)
    assert.equal(0, select(2, a:json("GET", "/connections?user=bob")).data.total)
    assert.equal('{"data":{"total":3,"offset":9,"count":0,"list":[]}}',
      select(2, a:ask("GET", "/connections?offset=9")))
    assert.equal(400, (a:json("GET", "/connections?limit=-1")))

    assert.equal(200, (a:ask("DELETE", "/connections/" .. one.sid)))
    helpers.eventually(function()
      return select(2, a:json("GET", "/connections")).data.total == 2
    end, "it was not closed")
    local status, gone = a:json("DELETE", "/connections/" .. one.sid)
    assert.same({ 404, 40401 }, { status, gone.code })
    for i = 1, 3 do
      streams[i]:close()
    end
    assert.is_nil(p:log():find "raised")
  end)

  it("counts exactly what services carry, also of connections that came and went", function()
    local port = programs.free_port()
    local p, a = start((WHOLE:gsub("127.0.0.1:0", "127.0.0.1:" .. port)))
    local target = plane.accept(function(s)
      local size = tonumber(s:read_until("\n", 100))
      s:write(("x"):rep(size) .. "\n")
      s:read_until("\n", 100)
      s:close()
    end)
    programs.wait_port(port)
    local _, before = a:json("GET", "/stats")
    for _ = 1, 20 do
      local s = tunnel(port, target)
      s:write "1000\n"
      s:read_until("\n", 2000)
      s:close()
    end
    local held = {}
    for i, size in ipairs { 10, 30000, 2000 } do
      held[i] = tunnel(port, target)
      held[i]:write(size .. "\n")
      held[i]:read_until("\n", 50000)
    end
    local payload = 20 * 1001 + 11 + 30001 + 2001
    local was = before.data.services[1]
    local figures
    helpers.eventually(function()
      figures = select(2, a:json("GET", "/stats")).data
      return figures.total.currentConns == 3 and figures.services[1].outputBytes - was.outputBytes >= payload
    end, "not three are open, or not all is counted")
    local one = figures.services[1]
    assert.same({ "front", "ready", "http", "tcp", "127.0.0.1:" .. port },
      { one.name, one.state, one.handler, one.listener, one.addr })
    assert.equal(23, one.totalConns - was.totalConns)
    local heads = 23 * #"HTTP/1.1 200 Connection established\r\n\r\n"
    assert.is_true(one.outputBytes - was.outputBytes <= payload + 3 * heads, one.outputBytes .. " bytes")
    assert.is_true(figures.process.memory > 1e6 and figures.process.cpu > 0 and figures.process.workers == 2)

    -- in an order
    local function sizes(query)
      local list = {}
      for i, item in ipairs(select(2, a:json("GET", "/connections?" .. query)).data.list) do
        list[i] = item.outputBytes > 20000 and "big" or item.outputBytes > 1000 and "middle" or "small"
      end
      return table.concat(list, " ")
    end
    assert.equal("big middle small", sizes "sort=bytes")
    assert.equal("big middle small", sizes("sort=output&service=front&host=" .. target))
    assert.equal("middle", sizes "sort=output&offset=1&limit=1")
    local by_age = select(2, a:json("GET", "/connections?sort=age")).data.list
    assert.is_true(by_age[1].age >= by_age[2].age and by_age[2].age >= by_age[3].age)
    assert.equal("", sizes "sort=age&user=bob")
    assert.equal(400, (a:ask("GET", "/connections?sort=odd")))
    assert.equal(400, (a:ask("GET", "/connections?sort=age&offset=1000")))
    sizes "sort=rate" -- from here on; a picture is old enough after half a second
    task.sleep(0.6)
    sizes "sort=rate"
    held[3]:write "again\n"
    helpers.eventually(function()
      local list = select(2, a:json("GET", "/connections?sort=rate")).data.list
      return #list == 2 or list[1].inputRate > 0 and list[1].outputBytes > 1000
    end, "nothing is fast")
    assert.is_nil(p:log():find "raised")
  end)

  it("knows those in a handler's hands, and sessions of datagrams", function()
    local port, udp = programs.free_port(), programs.free_port()
    local echo = luv.new_udp()
    echo:bind("127.0.0.1", 0)
    echo:recv_start(function(_, data, from)
      if data then
        echo:send(data, from.ip, from.port)
      end
    end)
    local p, a = start((WHOLE:gsub("127.0.0.1:0", "127.0.0.1:" .. port):gsub("api:", ([[
- name: datagrams
  addr: 127.0.0.1:%d
  handler: {type: udp}
  listener: {type: udp}
  forwarder: {nodes: [{name: t, addr: "127.0.0.1:%d"}]}
api:]]):format(udp, echo:getsockname().port))))
    local silent = assert(stream.dial("127.0.0.1:" .. port, nil, task.now() + 20000))
    local client, heard = luv.new_udp(), nil
    client:recv_start(function(_, data)
      heard = data or heard
    end)
    helpers.eventually(function()
      client:send("ping", "127.0.0.1", udp)
      return heard == "ping"
    end, "no echo of datagrams")
    local ids = {}
    helpers.eventually(function()
      for _, item in ipairs(select(2, a:json("GET", "/connections")).data.list) do
        ids[item.service] = item
      end
      return ids.front and ids.datagrams
    end, "not both are listed")
    assert.equal("handler", ids.front.state)
    assert.equal("relay", ids.datagrams.state)
    assert.is_true(ids.datagrams.inputBytes >= 4)
    assert.equal(200, (a:ask("DELETE", "/connections/" .. ids.front.sid)))
    silent:set_deadline(task.now() + 20000)
    local _, err = silent:read(10)
    assert.not_equal("timeout", err.code)
    assert.equal(200, (a:ask("DELETE", "/connections/" .. ids.datagrams.sid)))
    helpers.eventually(function()
      return select(2, a:json("GET", "/connections")).data.total == 0
    end, "they are not gone")
    echo:close()
    client:close()
    assert.is_nil(p:log():find "raised")
  end)

  it("drains a service and takes it in again", function()
    local port = programs.free_port()
    local _, a = start((WHOLE:gsub("127.0.0.1:0", "127.0.0.1:" .. port)))
    local target = plane.accept(function(s)
      s:write(s:read_until("\n", 100) or "")
      s:close()
    end)
    local s = tunnel(port, target)
    assert.equal(200, (a:ask("POST", "/services/front/drain")))
    assert.is_nil(stream.dial("127.0.0.1:" .. port, nil, task.now() + 20000))
    assert.same({ state = "closed", drained = true }, select(2, a:json("GET", "/config/services/front")).data.status)
    assert(s:write "still here\n")
    assert.equal("still here\n", s:read_until("\n", 100))
    assert.equal(200, (a:ask("POST", "/config/reload")))
    assert.is_nil(stream.dial("127.0.0.1:" .. port, nil, task.now() + 20000))
    assert.equal(200, (a:ask("POST", "/services/front/undrain")))
    tunnel(port, target):close()
    assert.equal("ready", select(2, a:json("GET", "/config/services/front")).data.status.state)
    assert.equal(400, (a:ask("POST", "/services/none/drain")))
  end)

  it("shows nodes with their marks", function()
    local port = programs.free_port()
    local _, a = start(WHOLE:gsub("127.0.0.1:0", "127.0.0.1:" .. port):gsub("{type: http,", "{type: http, chain: way,")
      .. [[
hops:
- name: mine
  nodes:
  - {name: gone, addr: "127.0.0.1:1", connector: {type: socks5}, metadata: {maxFails: 1, failTimeout: 60s}}
chains:
- {name: way, hops: [{name: mine}]}
]])
    local _, before = a:json("GET", "/nodes")
    assert.same({ hop = "mine", name = "gone", addr = "127.0.0.1:1", connector = "socks5", dialer = "tcp",
      failed = false, fails = 0 }, before.data.list[1])
    local s = assert(stream.dial("127.0.0.1:" .. port, nil, task.now() + 20000))
    s:write "CONNECT a.test:1 HTTP/1.1\r\nProxy-Authorization: Basic YW5uOnB3\r\n\r\n"
    s:read_until("\r\n\r\n", 4096)
    local _, after = a:json("GET", "/nodes")
    assert.is_true(after.data.list[1].failed)
    assert.equal(1, after.data.list[1].fails)
  end)

  it("tells what happens, as it happens", function()
    local port = programs.free_port()
    local _, a = start((WHOLE:gsub("127.0.0.1:0", "127.0.0.1:" .. port)))
    local watcher = programs.start("curl", {
      "-s", "-N", "-u", "me:secret", a.base .. "/events?kinds=open,close,state,log",
    }, { ready = "welcome" })
    local target = plane.accept(function(s) s:close() end)
    local s = tunnel(port, target)
    s:read_until("\n", 10)
    s:close()
    a:ask("POST", "/services/front/drain")
    helpers.eventually(function()
      return watcher.stdout:find "event: open\ndata: [^\n]*front"
        and watcher.stdout:find "event: close\ndata: [^\n]*ann"
        and watcher.stdout:find "event: state\ndata: [^\n]*closed"
    end, "not told", 10)
    watcher:stop()
    assert.equal(400, (a:ask("GET", "/events?kinds=odd")))
  end)

  it("evaluates nothing unless that is permitted", function()
    local _, a = start((WHOLE:gsub("127.0.0.1:0", "127.0.0.1:" .. programs.free_port())))
    assert.equal(403, (a:ask("POST", "/eval", "1+1")))
    proxy.stop_all()
    _, a = start((WHOLE:gsub("api: {", "api: {eval: true, ")))
    assert.same({ { ok = true, text = "2" } }, select(2, a:json("POST", "/eval", "1+1")).data)
    assert.equal(2, #select(2, a:json("POST", "/eval?worker=all", "1+1")).data)
    assert.equal(401, (api.new(a.base):ask("POST", "/eval", "1+1")))
    proxy.stop_all()
    _, a = start((WHOLE:gsub("api: {", "api: {eval: true, "):gsub(", auth: {username: me, password: secret}", "")))
    assert.equal(403, (a:ask("POST", "/eval", "1+1")))
  end)

  it("saves the configuration, which starts into the same state", function()
    local port = programs.free_port()
    local _, a, folder, path = start((WHOLE:gsub("127.0.0.1:0", "127.0.0.1:" .. port)))
    assert.equal(200, (a:json("POST", "/config/bypasses", { name = "b", matchers = { "a.test" }, reload = "10s" })))
    assert.equal(200, (a:json("POST", "/config/services", {
      name = "second", addr = "127.0.0.1:" .. programs.free_port(), bypass = "b", handler = { type = "socks5" },
    })))
    assert.equal(200, (a:ask("POST", "/config")))
    local _, before = a:ask("GET", "/config?format=yaml")
    proxy.stop_all()
    proxy.start({ "-C", path }, { services = 0, cwd = folder })
    programs.wait_port(tonumber(a.base:match "%d+$"))
    local _, after = a:ask("GET", "/config?format=yaml")
    local function plain(text)
      return (text:gsub("status:\n(    [^\n]*\n)+", ""):gsub("createTime: %d+", ""):gsub("time: %d+", ""))
    end
    assert.equal(plain(before), plain(after))

    assert.equal(200, (a:ask("POST", "/config?format=json&path=" .. folder .. "/other.json")))
    local f = assert(io.open(folder .. "/other.json"))
    assert.equal(2, #cjson.decode(f:read "*a").services)
    f:close()
    for _, bad in ipairs { "/etc/tidegate.yml", folder .. "/../x.yml", "none/x.yml", "../x.yml", folder } do
      local status, answer = a:json("POST", "/config?path=" .. bad)
      assert.same({ 500, 40005, bad }, { status, answer.code, bad })
    end
  end)

  it("reloads, or says why not and changes nothing", function()
    local _, a, _, path = start((WHOLE:gsub("127.0.0.1:0", "127.0.0.1:" .. programs.free_port())))
    local f = assert(io.open(path, "a"))
    f:write "bypasses: [{name: fresh}]\n"
    f:close()
    assert.equal(200, (a:ask("POST", "/config/reload")))
    assert.equal("fresh", select(2, a:json("GET", "/config/bypasses/fresh")).data.name)
    f = assert(io.open(path, "a"))
    f:write "chains: [{name: [}\n"
    f:close()
    local status, answer = a:json("POST", "/config/reload")
    assert.same({ 400, 40001 }, { status, answer.code })
    assert.matches("gate%.yml", answer.msg)
    assert.equal("fresh", select(2, a:json("GET", "/config/bypasses/fresh")).data.name)
  end)
end)
