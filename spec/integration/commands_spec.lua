-- tidegate init and convert, as a user types them.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local uv = require "luv"

describe("tidegate init", function()
  after_each(helpers.task(programs.stop_all))

  it("writes a configuration that check likes, once", helpers.task(function()
    local folder = programs.folder()
    local first = proxy.run({ "init" }, { cwd = folder })
    assert.equal(0, first.code, first.stderr)
    assert.equal(384, uv.fs_stat(folder .. "/tidegate.yml").mode % 512)
    assert.equal(0, proxy.run({ "check", "-C", "tidegate.yml" }, { cwd = folder }).code)

    programs.file(folder, "tidegate.yml", "mine")
    local second = proxy.run({ "init" }, { cwd = folder })
    assert.equal(1, second.code)
    assert.matches("tidegate.yml: file already exists; nothing was written", second.stderr, 1, true)
    assert.equal("mine", io.open(folder .. "/tidegate.yml"):read "*a")
  end))

  it("takes a name, or writes to the standard output", helpers.task(function()
    local folder = programs.folder()
    assert.equal(0, proxy.run({ "init", "my.yml" }, { cwd = folder }).code)
    assert.is_not_nil(uv.fs_stat(folder .. "/my.yml"))
    assert.matches("^# tidegate", proxy.run({ "init", "-" }, { cwd = folder }).stdout)
    assert.equal(1, proxy.run({ "init", "no/such/folder.yml" }, { cwd = folder }).code)
  end))
end)

describe("tidegate convert", function()
  after_each(helpers.task(programs.stop_all))

  it("goes from a command line through every notation and back", helpers.task(function()
    local folder = programs.folder()
    local urls = "-L 'socks5+tls://u:p@:1080?udp=true'\n-F ss://aes-128-gcm:pw@h:99,i:98\n"
    local from = { "convert", "-L", "socks5+tls://u:p@:1080?udp=true", "-F", "ss://aes-128-gcm:pw@h:99,i:98" }
    for _, format in ipairs { "yaml", "json", "lua" } do
      local args = { unpack(from) }
      args[#args + 1], args[#args + 2] = "--to", format
      local made = proxy.run(args)
      assert.equal(0, made.code, made.stderr)
      from = { "convert", programs.file(folder, "c." .. format, made.stdout) }
      assert.equal(urls, proxy.run({ "convert", from[2], "--to", "url" }).stdout)
      assert.equal(0, proxy.run({ "check", "-C", from[2] }).code)
    end
  end))

  it("keeps the list of scripts and does not run them", helpers.task(function()
    local folder = programs.folder()
    local path = programs.file(folder, "c.yml", "services: [{name: s, addr: ':1'}]\nscripts: [missing.lua]\n")
    local made = proxy.run { "convert", path, "--to", "lua" }
    assert.equal(0, made.code, made.stderr)
    assert.matches('scripts = {\n    "missing.lua",', made.stdout, 1, true)
    local refused = proxy.run { "convert", path, "--to", "url" }
    assert.equal(2, refused.code)
    assert.equal("", refused.stdout)
    assert.matches("scripts has no place in a URL", refused.stderr, 1, true)
  end))

  it("wants to know to what", helpers.task(function()
    for _, args in ipairs { { "convert", "-L", ":1" }, { "convert", "-L", ":1", "--to", "toml" } } do
      local made = proxy.run(args)
      assert.equal(2, made.code)
      assert.matches("yaml, json, lua, url", made.stderr, 1, true)
    end
  end))
end)
