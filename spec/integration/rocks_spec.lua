-- spec: no-asan, timeout=900
-- luarocks, offline: tidegate as a library of a plain LuaJIT, and plugins that the runtime finds.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

local SETTINGS = [[
lua_version = "5.1"
lua_interpreter = "luajit"
rocks_servers = { "file://%s" }
rocks_trees = { { name = "spec", root = "%s" } }
variables = { LUA_INCDIR = "/usr/include/luajit-2.1", LUA = "/usr/bin/luajit" }
]]

-- luarocks that knows no server but a folder.  @return function(arguments…)
local function rocks(folder)
  local path = programs.file(folder, "luarocks.lua", SETTINGS:format(folder .. "/server", folder .. "/tree"))
  return function(command, args, cwd)
    return programs.output(command, args, { env = { LUAROCKS_CONFIG = path }, cwd = cwd, seconds = 800 })
  end
end

-- A rocks server in a folder, with the template plugin in it.
local function publish(folder, run)
  local here = uv.cwd()
  uv.fs_mkdir(folder .. "/server", 493)
  local spec = here .. "/rocks/plugin/tidegate-plugin-shout-1.0-1.rockspec"
  run("luarocks", { "make", "--tree", folder .. "/made", spec }, here .. "/rocks/plugin")
  run("luarocks", { "--tree", folder .. "/made", "pack", "tidegate-plugin-shout" }, folder .. "/server")
  run("luarocks-admin", { "make-manifest", folder .. "/server" })
end

local function shouted(p)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
  s:set_deadline(task.now() + 20000)
  s:write "ahoy\n"
  local line = s:read_until("\n", 100)
  s:close()
  return line
end

local SCRIPT = [[
local tg = require "tidegate"
require "shout" (tg)
tg.service "shout://127.0.0.1:0?handler.mark=!!"
]]

describe("luarocks", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("installs plugins that the runtime finds", helpers.task(function()
    local folder = programs.folder()
    local run = rocks(folder)
    publish(folder, run)
    local script = programs.file(folder, "s.lua", SCRIPT)

    local without = proxy.run({ "check", "-C", script }, { env = { HOME = folder }, seconds = 40 })
    assert.equal(2, without.code)
    assert.matches("shout", without.stderr)

    run("luarocks", { "--tree", folder .. "/own", "install", "tidegate-plugin-shout" })
    local p = proxy.start({ "-C", script, "--rocks-tree", folder .. "/own" }, { services = 1 })
    assert.equal("AHOY!!\n", shouted(p))

    run("luarocks", { "--tree", folder .. "/.luarocks", "install", "tidegate-plugin-shout" })
    local q = proxy.start({ "-C", script }, { services = 1, env = { HOME = folder } })
    assert.equal("AHOY!!\n", shouted(q))
  end, 120))

  it("makes a library with which a plain LuaJIT dials and serves", helpers.task(function()
    local folder = programs.folder()
    local run = rocks(folder)
    local tree = folder .. "/tree"
    run("luarocks", { "make", "--tree", tree, "--deps-mode=none", "rocks/tidegate-0.1.0-1.rockspec" })

    local target, stop = server.echo "hello"
    local env = {
      LUA_PATH = ("%s/share/lua/5.1/?.lua;%s/share/lua/5.1/?/init.lua;;"):format(tree, tree),
      LUA_CPATH = tree .. "/lib/lua/5.1/?.so;;",
    }
    local function luajit(text)
      return programs.run("luajit", { "-e", text }, { env = env, seconds = 30 })
    end
    local made = luajit(([[
local tidegate = require "tidegate"
print(tidegate.run(function(target)
  local proxy = assert(tidegate.serve { services = { "auto://u:p@127.0.0.1:0" } })
  local at = proxy.addresses[1]
  local s = assert(tidegate.dial(target, { "socks5://u:p@" .. at, "http://u:p@" .. at }))
  local text = s:read(100)
  s:close()
  proxy:close()
  return text, select(2, tidegate.dial(target, { "sock5://x:1" }))
end, %q))
]]):format(target))
    assert.equal("", made.stderr)
    assert.matches('^hello\tunknown scheme "sock5"; did you mean', made.stdout)
    stop()

    local raised = luajit 'require "tidegate".run(function() error "boom" end)'
    assert.equal(1, raised.code)
    assert.matches("boom", raised.stderr)
  end, 850))
end)
