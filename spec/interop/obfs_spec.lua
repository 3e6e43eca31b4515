-- simple-obfs (obfs-local, obfs-server) at the other end.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local BLOCK = ("0123456789abcdef"):rep(262144) -- 4 MiB
local MODES = { ohttp = "http", otls = "tls" }

-- Echo through a port: small, much, many at once.
local function exercise(port)
  local done = {}
  for i = 1, 20 do
    done[i] = helpers.spawn(function()
      local s = assert(stream.dial("127.0.0.1:" .. port))
      s:set_deadline(task.now() + 20000)
      local data = i == 1 and BLOCK or "stream " .. i
      local writing = helpers.spawn(s.write, s, data)
      assert.is_true(s:read_exact(#data) == data)
      assert.is_true(writing())
      s:close()
    end)
  end
  for i = 1, 20 do
    done[i]()
  end
end

describe("simple-obfs", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  for transport, mode in pairs(MODES) do
    it(("obfs-local %s reaches %s"):format(mode, transport), helpers.task(function()
      if not programs.have "obfs-local" then
        return
      end
      local address, stop = server.echo()
      local p = proxy.start { "-L", ("forward+%s://127.0.0.1:0/%s"):format(transport, address) }
      local port = programs.free_port()
      programs.start("obfs-local", { "-s", "127.0.0.1", "-p", p:port(1), "-b", "127.0.0.1", "-l", port,
        "--obfs", mode, "--obfs-host", "www.example.com" }, { port = port })
      exercise(port)
      stop()
    end))

    it(("%s reaches obfs-server %s"):format(transport, mode), helpers.task(function()
      if not programs.have "obfs-server" then
        return
      end
      local address, stop = server.echo()
      local port = programs.free_port()
      programs.start("obfs-server", { "-s", "127.0.0.1", "-p", port, "--obfs", mode, "-r", address },
        { port = port })
      local p = proxy.start { "-L", "tcp://127.0.0.1:0/x:1", "-F",
        ("forward+%s://127.0.0.1:%d?host=www.example.com"):format(transport, port) }
      exercise(p:port(1))
      stop()
    end))
  end
end)
