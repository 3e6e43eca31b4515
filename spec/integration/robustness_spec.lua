-- What must not harm: peers that die, stay silent, talk nonsense, or come in too great a number.

local api = require "spec.helpers.api"
local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local CLIENTS = "spec/interop/peers/clients.py"
local SLACK = 4 -- descriptors the process may hold more than at first: pooled pipes

local function settles(p, base)
  helpers.eventually(function()
    return p:descriptors() <= base + SLACK
  end, ("descriptors stay at %d, %d at first"):format(p:descriptors(), base), 40)
end

-- A first use, so that what is made once is made.
local function warm_up(p)
  local address, stop = server.echo()
  for _ = 1, 4 do
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
    s:write "\5\1\0"
    s:read_exact(2)
    s:write("\5\1\0\1\127\0\0\1" .. string.char(math.floor(address:match ":(%d+)" / 256), address:match ":(%d+)" % 256))
    s:read_exact(10)
    s:write "hi"
    assert.equal("hi", s:read_exact(2))
    s:close()
  end
  stop()
  task.sleep(0.1)
  return p:descriptors()
end

describe("robustness", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("forgets 1,000 clients killed in the middle of a transfer", helpers.task(function()
    local port = programs.free_port()
    programs.start("/usr/bin/python3", { CLIENTS, "source", tostring(port) }, { ready = "ready" })
    local p = proxy.start { "-L", "socks5://127.0.0.1:0" }
    local base = warm_up(p)
    local clients = programs.start("/usr/bin/python3", { CLIENTS, "hold", tostring(p:port(1)), tostring(port), "1000" },
      { ready = "ready 1000" })
    assert.is_true(p:descriptors() > base + 1900)
    clients:stop "sigkill"
    settles(p, base)
  end))

  it("forgets tunnels whose upstream was killed", helpers.task(function()
    local port = programs.free_port()
    local source = programs.start("/usr/bin/python3", { CLIENTS, "source", tostring(port) }, { ready = "ready" })
    local p = proxy.start { "-L", "socks5://127.0.0.1:0" }
    local base = warm_up(p)
    local clients = programs.start("/usr/bin/python3", { CLIENTS, "hold", tostring(p:port(1)), tostring(port), "200" },
      { ready = "ready 200" })
    source:stop "sigkill"
    clients:stop "sigkill"
    settles(p, base)
  end))

  local SERVICES = {
    socks5 = "socks5://u:p@127.0.0.1:0?readTimeout=1s",
    socks4 = "socks4://127.0.0.1:0?readTimeout=1s",
    http = "http://u:p@127.0.0.1:0?headTimeout=1s&readTimeout=1s",
    relay = "relay://u:p@127.0.0.1:0?readTimeout=1s",
    auto = "auto://u:p@127.0.0.1:0?headTimeout=1s&readTimeout=1s",
    tls = "http+tls://127.0.0.1:0?handshakeTimeout=1s&headTimeout=1s&readTimeout=1s",
  }
  local OPENINGS = {
    "", "\5", "\5\2\0", "\5\1\2\1\1u", "\5\1\2\1\1u\1p\5\1\0", "\5\255" .. ("\1"):rep(10), "\4\1",
    "\4\1\0\80\0\0\0\1user",
    "\4\1\0\80\0\0\0\1" .. ("u"):rep(1000), "GET ", "GET / HTTP/1.1\r\nHost:", "GET / HTTP/9.9\r\n\r\n",
    "CONNECT nowhere HTTP/1.1\r\n" .. ("A: b\r\n"):rep(20000),
    "POST http://127.0.0.1:1/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "\1\1", "\1\1\255\255", "\1\1\0\4\1\0\255\1", "\22\3\1\2\0\1\0\1\252\3\3", "\22\3\1\255\255" .. ("\0"):rep(2000),
    ("\0"):rep(100000), ("\255"):rep(100000), "PROXY TCP4 1.2.3.4",
  }

  for name, url in pairs(SERVICES) do
    it("survives every broken opening on " .. name, helpers.task(function()
      local p = proxy.start { "-L", url }
      local address = "127.0.0.1:" .. p:port(1)
      task.sleep(0.05)
      local base = p:descriptors()
      local silent = {}
      for i, opening in ipairs(OPENINGS) do
        for _, manner in ipairs { "close", "shutdown", "stay" } do
          local s = assert(stream.dial(address))
          s:set_deadline(task.now() + 3000)
          s:write(opening)
          if manner == "shutdown" then
            s:shutdown()
          end
          if manner == "close" then
            s:close()
          else
            silent[#silent + 1] = s
          end
        end
        if i % 8 == 0 then
          helpers.pass()
        end
      end
      settles(p, base)
      for _, s in ipairs(silent) do
        s:close()
      end
      assert.is_nil(p:log():find("stack traceback", 1, true), p:log():match "[^\n]*traceback.*")
    end))
  end

  it("pauses accepting when descriptors run out, without spinning, and recovers", helpers.task(function()
    local address, stop = server.echo()
    local port = programs.free_port()
    local p = proxy.start({ "-L", "tcp://127.0.0.1:0/" .. address, "-api", "127.0.0.1:" .. port },
      { shell = 'ulimit -n 90; exec "$@"', services = 1 })
    local held = {}
    for _ = 1, 120 do
      held[#held + 1] = assert(stream.dial("127.0.0.1:" .. p:port(1)))
    end
    p:logged("accepting pauses", true)
    helpers.eventually(function() -- those it has accepted before may cost it something still
      local before = p:cpu()
      task.sleep(1)
      return p:cpu() - before < 0.3
    end, "it spins", 10)
    for _, s in ipairs(held) do
      s:close()
    end
    helpers.eventually(function()
      local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
      s:set_deadline(task.now() + 500)
      s:write "alive"
      local bytes = s:read_exact(5)
      s:close()
      return bytes == "alive"
    end, "it does not recover", 40)
    local answer
    helpers.eventually(function() -- a worker that had no trouble may have accepted before the other one is ready
      answer = select(2, api.new("http://127.0.0.1:" .. port):json("GET", "/config/services/service-0"))
      return answer.data.status.state == "ready"
    end, "it is not ready again")
    local states = {}
    for i, event in ipairs(answer.data.status.events) do
      states[i] = event.msg:match "^service service%-0 is (%l+)"
    end
    assert.equal("running ready listening failed ready", table.concat(states, " ", 1, 5))
    stop()
  end))
end)
