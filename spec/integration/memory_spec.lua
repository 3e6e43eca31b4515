-- What idle tunnels cost, and that it is given back.
-- spec: alone, no-asan

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local task = require "tidegate.native.task"

local CLIENTS = "spec/interop/peers/clients.py"
local TUNNELS = 4000
local SHORT = 4000

describe("memory", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  -- One worker, whose Lua heap breathes by a quarter of a MiB; and without the lines of each
  -- connection: what they will say takes some hundred bytes more.
  local function start()
    local port, listens = programs.free_port(), programs.free_port()
    programs.start("/usr/bin/python3", { CLIENTS, "echo", tostring(port) }, { ready = "ready" })
    local p = proxy.start({ "--workers", "1", "-L", "socks5://127.0.0.1:" .. listens }, {
      services = 0, env = { GOST_LOGGER_LEVEL = "error" },
    })
    programs.wait_port(listens, p.process)
    local before = 0
    helpers.eventually(function() -- it listens a moment before it is ready with everything else
      local now = p:rss()
      local still = now == before
      before = now
      task.sleep(0.2)
      return still
    end, "memory does not come to rest", 20)
    return p, function(what, count)
      return { CLIENTS, what, tostring(listens), tostring(port), tostring(count) }
    end
  end

  it("is after short connections what it was before the first", helpers.task(function()
    local p, clients = start()
    local cold = p:rss()
    programs.run("/usr/bin/python3", clients("loop", SHORT), { seconds = 60 })
    helpers.eventually(function()
      return p:rss() <= cold * 1.1
    end, ("memory grew from %d to %d KiB"):format(cold, p:rss()), 20)
  end, 120))

  it("holds an idle SOCKS5 tunnel in 1 KiB, and gives it back", helpers.task(function()
    local p, clients = start()
    local cold = p:rss()
    local function hold(count)
      return programs.start("/usr/bin/python3", clients("hold", count), { ready = "ready " .. count })
    end
    hold(300):stop "sigkill"
    task.sleep(1)
    local before = p:rss()
    local held = hold(TUNNELS)
    task.sleep(0.5)
    local each = (p:rss() - before) * 1024 / TUNNELS
    assert.is_true(each <= 1024, ("%d bytes each"):format(each))
    held:stop "sigkill"
    helpers.eventually(function()
      return p:rss() <= cold * 1.1
    end, ("memory stays at %d KiB, %d at the start"):format(p:rss(), cold), 20)
  end, 120))
end)
