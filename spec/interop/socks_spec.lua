-- SOCKS with programs others wrote: curl, PySocks, socat, nc and ssh as clients, microsocks and dante as
-- servers; chains of our own where nobody else speaks the protocol.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local scene = require "spec.helpers.scene"
local uv = require "luv"

local PYTHON = "/usr/bin/python3" -- the distribution's, which has the package python3-socks

-- @return its port
local function serve(fn)
  return tonumber(scene.serve(function(stream)
    fn(stream)
    stream:shutdown()
    while stream:read() do end -- luacheck: ignore
    stream:close()
  end))
end

local function echo()
  return serve(function(stream)
    local data = stream:read()
    while data and stream:write(data) do
      data = stream:read()
    end
  end)
end

local function web()
  return serve(function(stream)
    if stream:read_until("\r\n\r\n", 65536) then
      stream:write "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nit works"
    end
  end)
end

local function curl(args)
  return programs.output("curl", { "-sS", "--max-time", "15", "--noproxy", "", unpack(args) }, { seconds = 40 })
end

local function microsocks(...)
  local port = programs.free_port()
  programs.start("microsocks", { "-i", "127.0.0.1", "-p", tostring(port), ... }, { port = port })
  return port
end

local function dante()
  local port, folder = programs.free_port(), programs.folder()
  local config = programs.file(folder, "danted.conf", table.concat({
    "errorlog: /dev/null", "internal: 127.0.0.1 port = " .. port, "external: lo",
    "socksmethod: none", "clientmethod: none",
    uv.getuid() == 0 and "user.unprivileged: nobody" or "",
    "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }",
    "socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }", "",
  }, "\n"))
  programs.start("danted", { "-f", config, "-p", folder .. "/pid" }, { port = port })
  return port
end

describe("socks", function()
  after_each(helpers.task(scene.stop_all))

  for _, kind in ipairs { "socks4", "socks4a", "socks5", "socks5-hostname" } do
    for _, service in ipairs { kind:match "^socks%d", "auto" } do
      it(("serves curl --%s as %s"):format(kind, service), helpers.task(function()
        local origin = web()
        local p = proxy.start { "-L", service .. "://127.0.0.1:0" }
        -- -4: newer releases take localhost for ::1, where the origin is not
        assert.equal("it works", curl { "-4", "--" .. kind, "127.0.0.1:" .. p:port(1),
          ("http://localhost:%d/"):format(origin) })
      end))
    end
  end

  it("asks curl for a password", helpers.task(function()
    local origin = web()
    local p = proxy.start { "-L", "socks5://user:pass@127.0.0.1:0" }
    local url = ("http://127.0.0.1:%d/"):format(origin)
    local at = "@127.0.0.1:" .. p:port(1)
    assert.equal("it works", curl { "-x", "socks5h://user:pass" .. at, url })
    for _, wrong in ipairs { "socks5h://user:wrong", "socks5h://other:pass" } do
      local result = programs.run("curl", { "-sS", "--max-time", "20", "-x", wrong .. at, url })
      assert.equal(97, result.code, result.stderr)
    end
  end))

  for _, kind in ipairs { "socks4", "socks5", "http" } do
    it("serves PySocks with " .. kind, helpers.task(function()
      local origin = echo()
      local p = proxy.start { "-L", "auto://127.0.0.1:0" }
      local said = programs.output(PYTHON,
        { "spec/interop/peers/pysocks_get.py", kind, tostring(p:port(1)), tostring(origin) })
      assert.equal("done\n", said)
    end))
  end

  it("serves PySocks with a password", helpers.task(function()
    local origin = echo()
    local p = proxy.start { "-L", "socks5://user:pass@127.0.0.1:0" }
    local said = programs.output(PYTHON,
      { "spec/interop/peers/pysocks_get.py", "socks5", tostring(p:port(1)), tostring(origin), "user", "pass" })
    assert.equal("done\n", said)
  end))

  it("serves socat by SOCKS4 and SOCKS4a", helpers.task(function()
    local origin = echo()
    local p = proxy.start { "-L", "socks4://127.0.0.1:0" }
    for _, kind in ipairs { "SOCKS4", "SOCKS4A" } do
      local said = programs.output("socat", { "-t5", "-",
        ("%s:127.0.0.1:%s:%d,socksport=%d"):format(kind, kind == "SOCKS4" and "127.0.0.1" or "localhost",
          origin, p:port(1)) }, { stdin = "over and out\n" })
      assert.equal("over and out\n", said)
    end
  end))

  it("serves nc by SOCKS4 and SOCKS5", helpers.task(function()
    local origin = web()
    local p = proxy.start { "-L", "auto://127.0.0.1:0" }
    for _, version in ipairs { "4", "5" } do
      local said = programs.output("nc", { "-X", version, "-x", "127.0.0.1:" .. p:port(1), "-w", "5",
        "127.0.0.1", tostring(origin) }, { stdin = "GET / HTTP/1.0\r\n\r\n" })
      assert.matches("it works$", said)
    end
  end))

  local servers = { microsocks = microsocks, danted = dante }
  for name, start in pairs(servers) do
    it("goes through " .. name, helpers.task(function()
      if not programs.have(name) then
        return pending(name .. " is not installed")
      end
      local origin, far = web(), start()
      for _, query in ipairs { "", "?notls=true" } do
        local p = proxy.start { "-L", "http://127.0.0.1:0", "-F", ("socks5://127.0.0.1:%d%s"):format(far, query) }
        assert.equal("it works", curl { "-x", "http://127.0.0.1:" .. p:port(1),
          ("http://localhost:%d/"):format(origin) })
      end
    end))
  end

  it("goes through microsocks with a password", helpers.task(function()
    local origin, far = web(), microsocks("-u", "user", "-P", "pass")
    local p = proxy.start { "-L", "http://127.0.0.1:0", "-F", ("socks5://user:pass@127.0.0.1:%d"):format(far) }
    assert.equal("it works", curl { "-x", "http://127.0.0.1:" .. p:port(1), ("http://127.0.0.1:%d/"):format(origin) })
  end))

  it("goes through a SOCKS4 server", helpers.task(function()
    local origin = web()
    local far = proxy.start { "-L", "socks4://127.0.0.1:0" }
    for _, query in ipairs { "", "?disable4a=true" } do
      local p = proxy.start { "-L", "socks5://127.0.0.1:0",
        "-F", ("socks4://127.0.0.1:%d%s"):format(far:port(1), query) }
      assert.equal("it works", curl { "--socks5-hostname", "127.0.0.1:" .. p:port(1),
        ("http://localhost:%d/"):format(origin) })
    end
  end))
end)

describe("relay", function()
  after_each(helpers.task(scene.stop_all))

  for _, query in ipairs { "", "?nodelay=true" } do
    it("carries streams between two of us" .. query, helpers.task(function()
      local origin = web()
      local far = proxy.start { "-L", "relay://user:pass@127.0.0.1:0" .. query }
      local p = proxy.start { "-L", "auto://127.0.0.1:0",
        "-F", ("relay://user:pass@127.0.0.1:%d%s"):format(far:port(1), query) }
      assert.equal("it works", curl { "--socks5-hostname", "127.0.0.1:" .. p:port(1),
        ("http://localhost:%d/"):format(origin) })
    end))
  end

  it("forwards to the service's own target", helpers.task(function()
    local origin = web()
    local far = proxy.start { "-L", ("relay://127.0.0.1:0/127.0.0.1:%d"):format(origin) }
    local p = proxy.start { "-L", "http://127.0.0.1:0", "-F", "relay://127.0.0.1:" .. far:port(1) }
    assert.equal("it works", curl { "-x", "http://127.0.0.1:" .. p:port(1), "http://nowhere.invalid/" })
  end))
end)
