-- spec: alone, timeout=300
-- Reloads that add, change and remove objects, again and again, while connections come and go.

local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local LIMIT_MS = 20000
local RELOADS = 200
local CLIENTS = 8

local path, target, ports

local function write(text)
  local file = assert(io.open(path .. ".new", "w"))
  file:write(text)
  file:close()
  os.rename(path .. ".new", path)
end

-- The configuration of one round.  The first service stays as it is, the second changes its policies, the
-- third comes and goes.
local function configuration(round)
  local text = ([[
services:
- name: kept
  addr: 127.0.0.1:%d
  handler: { type: socks5 }
- name: changed
  addr: 127.0.0.1:%d
  bypass: list-%d
  handler: { type: http, auther: people-%d, chain: way }
]]):format(ports[1], ports[2], round % 3, round % 2)
  if round % 2 == 1 then
    text = text .. ("- name: guest\n  addr: 127.0.0.1:%d\n  handler: { type: http }\n"):format(ports[3])
  end
  return text .. ([[
bypasses:
- name: list-%d
  matchers: [ "refused-%d.test", "10.0.0.0/8" ]
authers:
- name: people-%d
  auths: [ { username: ann, password: secret }, { username: guest-%d, password: x } ]
chains:
- name: way
  hops:
  - name: hop-%d
    nodes: [ { name: n, addr: "127.0.0.1:%d", connector: { type: socks5 } } ]
]]):format(round % 3, round, round % 2, round, round % 4, ports[1])
end

-- A CONNECT with credentials.  @return status, stream when it is 200
local function connect(port, address)
  local s, err = stream.dial("127.0.0.1:" .. port, nil, task.now() + LIMIT_MS)
  if not s then
    return tostring(err)
  end
  s:set_deadline(task.now() + LIMIT_MS)
  s:write(("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n"):format(address))
  local head
  head, err = s:read_until("\r\n\r\n", 8192)
  local status = head and tonumber(head:match "^HTTP/1%.%d (%d+)")
  if status ~= 200 then
    s:close()
    return status or tostring(err)
  end
  return 200, s
end

local function echoes(s, text)
  s:write(text)
  local answer, err = s:read_exact(#text)
  return answer == text or tostring(err)
end

-- Connections one after the other, until told to stop.  @return how many, and what went wrong
local function client(state)
  while not state.over do
    local status, s = connect(ports[2], target)
    local fine = status == 200 and echoes(s, "ping") or status
    if s then
      s:close()
    end
    state.count = state.count + 1
    if fine ~= true then
      state.wrong[#state.wrong + 1] = tostring(fine)
    end
  end
  state.clients = state.clients - 1
  if state.clients == 0 then
    state.waiter:wake(true)
  end
end

describe("reloading", function()
  local p

  setup(function()
    path = programs.folder() .. "/gost.yml"
    target = plane.echo()
    ports = { programs.free_port(), programs.free_port(), programs.free_port() }
    write(configuration(0))
    p = proxy.start({ "-C", path, "--workers", "2" }, { services = 2 })
  end)

  teardown(function()
    proxy.stop_all()
  end)

  local function reload(count)
    p:kill "sighup"
    for _ = 1, LIMIT_MS / 5 do
      if select(2, p:log():gsub("configuration reloaded", "")) >= count then
        return
      end
      task.sleep(0.005)
    end
    error("no reload:\n" .. p:log():sub(-2000))
  end

  it(("loses no connection in %d reloads"):format(RELOADS), function()
    local _, old = connect(ports[2], target)
    local state = { count = 0, wrong = {}, clients = CLIENTS, waiter = task.waiter() }
    for _ = 1, CLIENTS do
      task.spawn(client, state)
    end
    for round = 1, RELOADS do
      write(configuration(round))
      reload(round)
      if round % 20 == 1 then
        local status, s = connect(ports[3], target)
        assert.equal(200, status, "the service that came")
        s:close()
        assert.equal(403, (connect(ports[2], ("refused-%d.test:80"):format(round))))
      end
    end
    state.over = true
    assert(state.waiter:wait(task.now() + LIMIT_MS))
    assert.same({}, state.wrong)
    assert.is_true(state.count > RELOADS)
    assert.is_true(echoes(old, "still there"), "a connection from before")
    old:close()
  end)

  it("changes nothing when the new configuration is wrong, and says all that is", function()
    write(configuration(1):gsub("type: socks5 }\n", "type: sox }\n", 1):gsub("auther: people%-1", "auther: nobody"))
    p:kill "sighup"
    p:logged "the running configuration stays in force"
    assert.matches('unknown handler \\"sox\\"', p:log(), 1, true)
    assert.matches('there is no auther \\"nobody\\"', p:log(), 1, true)
    local status, s = connect(ports[2], target)
    assert.equal(200, status)
    assert.is_true(echoes(s, "ping"))
    s:close()
  end)
end)
