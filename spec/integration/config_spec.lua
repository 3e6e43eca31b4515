-- Configuration through the executable: every way to say it, and everything said wrong.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local tls = require "spec.helpers.tls"

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
    ["what metadata names and nobody defines"] = {
      file = { "a.yaml", "services:\n- name: s\n  addr: '127.0.0.1:0'\n  handler:\n    type: http\n    metadata:\n"
        .. "      mitm.bypass: ours\nbypasses: [{name: hours}]\n" },
      want = { 'a.yaml:7: services[0].handler.metadata.mitm.bypass: there is no bypass "ours"; did you mean hours?' },
    },
    ["a line of broken YAML"] = {
      file = { "a.yaml", "services:\n- name: [a\n" }, want = { "a.yaml:3: " },
    },
    ["a colon that YAML takes for its own"] = {
      file = { "a.yaml", "services:\n- {name: a, addr: :80}\n" },
      want = { 'a.yaml:2: did not find expected node content; inside of { } and [ ] a text that begins with a colon '
        .. 'needs quotes: ":8080"' },
    },
    ["a line of broken JSON"] = {
      file = { "a.json", '{\n"services": [\n{"name": "a",}]}' },
      want = { "a.json:3: a key in double quotes expected" },
    },
    ["a script that raises"] = {
      file = { "a.lua", "\nerror 'boom'" }, want = { "a.lua:2: boom" },
    },
    ["a script that raises, and not what it would have defined"] = {
      file = { "a.yaml", "services: [{name: s, addr: '127.0.0.1:0', bypass: home, handler: {type: parrot, chain: way,\n"
        .. "  metadata: {readTimeout: soon}}}, {name: s}]\nhops: [{name: h, nodes: [], selector: {filters: [near],\n"
        .. "  strategy: mine}}]\nscripts: [%s/b.lua]\n" },
      others = { ["b.lua"] = "local tg = require 'tidegate'\nerror 'boom'" },
      want = { "b.lua:2: boom", 'service "s" is defined twice' },
      never = { "there is no", "unknown" },
    },
    ["filters of selectors that nobody defines"] = {
      file = { "a.yaml", SERVICE .. "scripts: [%s/b.lua]\nhops:\n- name: h\n  nodes: []\n  selector:\n"
        .. "    filters: [near, naer]\n" },
      others = { ["b.lua"] = "require('tidegate').filter('near', function(items) return items end)" },
      want = { 'a.yaml:7: hops[0].selector.filters[1]: there is no filter "naer"; did you mean near?; a script defines '
        .. 'one with tg.filter("naer", function(items, ctx) … end)' },
      never = { 'no filter "near"' },
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
        or { "-C", programs.file(folder, case.file[1], (case.file[2]:gsub("%%s", folder))) }
      for file, text in pairs(case.others or {}) do
        programs.file(folder, file, text)
      end
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
        for _, text in ipairs(case.never or {}) do
          assert.is_nil(result.stderr:find(text, 1, true), result.stderr)
        end
      end
    end))
  end

  it("warns of what is no mistake and rarely meant, and where it is said", helpers.task(function()
    local folder = programs.folder()
    local authority = tls.authority "warned"
    local old = tls.certificate(authority, "localhost", { days = -1 })
    local function warned(argv, text)
      local result = proxy.run { "check", unpack(argv) }
      assert.equal(0, result.code, result.stderr)
      assert.is_truthy(result.stderr:find(text, 1, true), result.stderr)
    end
    warned({ programs.file(folder, "a.yaml", ("services:\n- name: s\n  addr: '127.0.0.1:0'\n  listener:\n"
      .. "    type: tls\n    tls: {certFile: %s, keyFile: %s}\n"):format(old.cert, old.key)) },
      "a.yaml:6: services[0].listener.tls.certFile: warning: certificate " .. old.cert .. " has expired, on 2020-01-02")
    warned({ programs.file(folder, "b.yaml", "") }, "there is no service: nothing is served")
    warned({ "-L", "http://127.0.0.1:0?limiter.in=abc" },
      '-L http://127.0.0.1:0?limiter.in=abc: limiters[0].limits[0]: warning: "$ abc"')
    warned({ "-L", "http://127.0.0.1:0", "-F", "http://h:1?strategy=foo" },
      '-F http://h:1?strategy=foo: chains[0].hops[0].selector.strategy: warning: unknown strategy "foo"')
    warned({ "-L", "tcp://127.0.0.1:0" }, "no connection gets anywhere: name targets")
    warned({ "-L", "ss://aes-128-gcm@127.0.0.1:0" }, "handler ss: the password is empty")
  end))

  it("stays in force when its file is found empty, as while somebody writes it", helpers.task(function()
    local folder = programs.folder()
    local p = proxy.start({ "-C", programs.file(folder, "a.yaml", SERVICE) }, { services = 1 })
    programs.file(folder, "a.yaml", "")
    p:kill "sighup"
    p:logged("reload: nothing would be served any more", true)
    programs.file(folder, "a.yaml", SERVICE .. "bypases: []\n")
    p:kill "sighup"
    p:logged("bypases: unknown key; did you mean bypasses?", true)
    programs.file(folder, "a.yaml", SERVICE .. "chains: [{name: c, hops: []}]\n")
    p:kill "sighup"
    p:logged("a.yaml:2: chains[0]: warning: has no hops: connections are direct", true)
    p:logged("configuration reloaded", true)
    local http = programs.output("curl", { "-s", "-o", "/dev/null", "-w", "%{http_code}", "-x",
      "http://127.0.0.1:" .. p:port(1), "http://127.0.0.1:1/" })
    assert.equal("503", http)
  end))

  it("tells standard error of a log file that takes no more", helpers.task(function()
    local p = proxy.start { "-C", programs.file(programs.folder(), "a.yaml", "log: {output: /dev/full}\n" .. SERVICE) }
    p:logged("tidegate: log file /dev/full: No space left on device; lines are lost", true)
  end))

  it("tells what each worker finds wrong while it builds, once", helpers.task(function()
    local folder = programs.folder()
    local script = programs.file(folder, "a.lua", [[
      local tg = require "tidegate"
      if tg.worker then
        error(tg.worker == 1 and "first" or "others", 0)
      end
    ]])
    local result = proxy.run { "--workers", "3", "-C", script, "-L", "http://127.0.0.1:0" }
    assert.equal(2, result.code)
    assert.equal(1, select(2, result.stderr:gsub("first", "")), result.stderr)
    assert.equal(1, select(2, result.stderr:gsub("others", "")), result.stderr)
  end))

  it("tells every object that cannot be built, and not what would have used it", helpers.task(function()
    local folder = programs.folder()
    local node = "{name: n, addr: '127.0.0.1:1', connector: {type: %s}, dialer: {type: tcp}, metadata: {netns: %s}}"
    local script = programs.file(folder, "b.lua", [[
      local tg = require "tidegate"
      for _, name in ipairs { "one", "two" } do
        tg.connector(name) {
          open = function() return nil, tg.failure("config", name .. " lacks its key") end,
          connect = function() end,
        }
      end
      tg.handler "moody" { open = function() return nil, tg.failure("config", "no mood") end, handle = function() end }
    ]])
    local result = proxy.run { "-C", programs.file(folder, "a.yaml", ([[
services: [{name: s, addr: "127.0.0.1:0", handler: {type: http, chain: c}},
  {name: t, addr: "127.0.0.1:0", handler: {type: moody}}, {name: u, addr: "192.0.2.1:1", handler: {type: http}}]
chains: [{name: c, hops: [{name: h}]}, {name: d, hops: [{name: i, nodes: [%s]}]}]
hops: [{name: h, nodes: [%s]}]
scripts: ["%s"]
]]):format(node:format("two", "''"), node:format("one", "''"), script)) }
    assert.equal(2, result.code)
    local lines = {}
    for line in result.stderr:gmatch "[^\n]+" do
      lines[#lines + 1] = line:match "%S+ %S+$"
    end
    assert.same({ "its key", "its key", "no mood" }, { unpack(lines, #lines - 2) }, result.stderr)
    assert.matches("^tidegate: service u: [^\n]*192%.0%.2%.1:1", result.stderr)
    assert.equal(4, #lines)
    assert.matches("one lacks.*two lacks", result.stderr)
  end))

  it("runs several processes from one command line", helpers.task(function()
    local a, b = programs.free_port(), programs.free_port()
    local address = "http://127.0.0.1:%d"
    proxy.start({ "-L", address:format(a), "--", "-L", address:format(b) }, { port = b })
    programs.wait_port(a)
  end))
end)
