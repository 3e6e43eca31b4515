-- Configuration through the executable: every way to say it, and everything said wrong.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local SERVICE = "services: [{name: s, addr: '127.0.0.1:0', handler: {type: http}, "
  .. "listener: {type: tcp}}]\n"

describe("configuration", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("comes from files, standard input, inline JSON and scripts", helpers.task(function()
    local folder = programs.folder()
    local yaml = programs.file(folder, "a.yaml", SERVICE)
    local script = programs.file(folder, "b.lua", [[
      local tg = require "tidegate"
      tg.service "socks5://127.0.0.1:0"
    ]])
    local result = proxy.run({
      "-C", yaml, "-C", script, "-C", '{"services":[{"name":"j","addr":"127.0.0.1:0"}]}',
      "-C", "-", "-L", "relay://127.0.0.1:0", "-O", "yaml",
    }, { stdin = "services: [{name: i}]\n" })
    assert.equal(0, result.code, result.stderr)
    local names = {}
    for name in result.stdout:gmatch("\n  %- name: (%S+)") do
      names[#names + 1] = name
    end
    assert.same({ "s", "b-0", "j", "i", "service-0" }, names)
  end))

  it("comes from a web server", helpers.task(function()
    local folder = programs.folder()
    programs.file(folder, "a.yaml", SERVICE)
    local port = programs.free_port()
    programs.start("python3", {
      "-m", "http.server", tostring(port), "--bind", "127.0.0.1", "--directory", folder,
    }, { port = port })
    local address = "http://me:secret@127.0.0.1:" .. port
    local result = proxy.run { "-C", address .. "/a.yaml", "-O", "yaml" }
    assert.equal(0, result.code, result.stderr)
    assert.matches("name: s\n", result.stdout)

    result = proxy.run { "-C", address .. "/b.yaml" }
    assert.equal(2, result.code)
    assert.matches("/b.yaml: answered with status 404", result.stderr, 1, true)
    assert.is_nil(result.stderr:find("secret", 1, true))
  end))

  it("is checked without being used", helpers.task(function()
    local folder = programs.folder()
    local result = proxy.run { "check", "-C", programs.file(folder, "a.yaml", SERVICE) }
    assert.same({ 0, "the configuration is fine\n" }, { result.code, result.stdout })
  end))

  it("keeps what a script declares known to the rest", helpers.task(function()
    local folder = programs.folder()
    local script = programs.file(folder, "b.lua", [[
      local tg = require "tidegate"
      tg.handler "parrot" { handle = function(_, _, s) s:write("squawk") end }
      tg.chain("nowhere", function() return "direct" end)
    ]])
    local port = programs.free_port()
    proxy.start({ "-C", script, "-L", ("parrot://127.0.0.1:%d"):format(port) }, { port = port })
    local text = programs.output("nc", { "127.0.0.1", tostring(port) }, { stdin = "" })
    assert.equal("squawk", text)
  end))

  for name, case in pairs {
    ["every mistake of a file"] = {
      file = { "a.yaml", "services:\n- name: a\n  addr: ':99999'\n  handler: {type: htpp, chain: c}\n"
        .. "  lisener: {}\n- name: a\n  handler: {type: http}\n  bypass: b\nlog: {levl: info}\n" },
      want = {
        'a.yaml:3: services[0].addr: "99999" is no port',
        'a.yaml:4: services[0].handler.type: unknown handler "htpp"; did you mean http',
        'a.yaml:4: services[0].handler.chain: there is no chain "c"',
        "a.yaml:5: services[0].lisener: unknown key; did you mean listener?",
        'a.yaml:6: services[1].name: service "a" is defined twice, also at',
        "a.yaml:8: services[1].bypass: there is no bypass",
        "a.yaml:9: log.levl: unknown key; did you mean level?",
      },
    },
    ["a line of broken YAML"] = {
      file = { "a.yaml", "services:\n- name: [a\n" }, want = { "a.yaml:3: " },
    },
    ["a line of broken JSON"] = {
      file = { "a.json", '{\n"services": [\n{"name": "a",}]}' },
      want = { "a.json:3: a key in double quotes expected" },
    },
    ["a script that raises"] = {
      file = { "a.lua", "\nerror 'boom'" }, want = { "a.lua:2: boom" },
    },
    ["a script that is no Lua"] = { file = { "a.lua", "x = = 1" }, want = { "a.lua:1: " } },
    ["an unreadable file"] = { argv = { "-C", "/nonexistent.yaml" }, want = { "cannot be read" } },
    ["a format nobody reads"] = { argv = { "-C", "x.toml" }, want = { "toml files are not read" } },
    ["an unknown scheme"] = {
      argv = { "-L", "sokcs5://:1080" }, want = { 'unknown scheme "sokcs5"; did you mean socks' },
    },
    ["a type of gost that is missing here"] = {
      argv = { "-L", "http+kcp://127.0.0.1:0" },
      want = { "`kcp` listener: not in this version of tidegate yet; known here: " },
    },
    ["a wrong port of a proxy"] = {
      argv = { "-L", "http://:0", "-F", "http://h:http!" }, want = { "invalid port" },
    },
  } do
    it("names " .. name, helpers.task(function()
      local folder = programs.folder()
      local argv = case.argv
        or { "-C", programs.file(folder, case.file[1], case.file[2]) }
      for _, command in ipairs { "check", "" } do
        local args = { unpack(argv) }
        if command ~= "" then
          table.insert(args, 1, command)
        end
        local result = proxy.run(args)
        assert.equal(2, result.code, result.stderr)
        for _, text in ipairs(case.want) do
          assert.is_truthy(result.stderr:find(text, 1, true), result.stderr)
        end
      end
    end))
  end

  it("runs several processes from one command line", helpers.task(function()
    local a, b = programs.free_port(), programs.free_port()
    local address = "http://127.0.0.1:%d"
    proxy.start({ "-L", address:format(a), "--", "-L", address:format(b) }, { port = b })
    programs.wait_port(a)
  end))
end)
