local cli = require "tidegate.cli"
local component = require "tidegate.component"
local source = require "tidegate.config.source"

local CASES = dofile "spec/unit/config/url_cases.lua"

describe("cli", function()
  local real, environment, files, declared

  before_each(function()
    real, environment, files, declared = {}, {}, {}, {}
    for name, fn in pairs(source) do
      real[name] = fn
    end
    source.getenv = function(name)
      return environment[name]
    end
    source.exists = function(path)
      return files[path] ~= nil
    end
    source.read_file = function(path)
      if files[path] then
        return files[path]
      end
      return nil, { message = "No such file or directory" }
    end
    component.set_listing(function() return {} end)
    for kind, names in pairs {
      handler = "http auto tcp", listener = "tcp unix", connector = "http", dialer = "tcp",
    } do
      for name in names:gmatch("%S+") do
        if not package.loaded[("tidegate.%s.%s"):format(kind, name)] then
          declared[#declared + 1] = component.register(kind, name, { doc = "for tests" })
        end
      end
    end
  end)

  after_each(function()
    for name, fn in pairs(real) do
      source[name] = fn
    end
    for _, item in ipairs(declared) do
      component.remove(item)
    end
    component.set_listing(nil)
  end)

  -- Run the program.  @return exit code, stdout, stderr, what was run or spawned
  local function run(argv, host)
    local out, err, seen = {}, {}, nil
    local stand_in = {
      stdout = function(text) out[#out + 1] = text end,
      stderr = function(text) err[#err + 1] = text end,
      run = function(config, options)
        seen = { config = config, options = options }
        return 0
      end,
      spawn_workers = function(list)
        seen = list
        return 1
      end,
    }
    for key, value in pairs(host or {}) do
      stand_in[key] = value
    end
    local code = cli.main(argv, stand_in)
    return code, table.concat(out), table.concat(err), seen
  end

  local function printed(argv)
    argv[#argv + 1], argv[#argv + 2] = "-O", "yaml"
    local code, out, err = run(argv)
    assert.same({ 0, "" }, { code, err })
    return out
  end

  describe("prints as gost does", function()
    for _, case in ipairs(CASES) do
      it(table.concat(case[1], " "), function()
        assert.same(case[2], printed { unpack(case[1]) })
      end)
    end
  end)

  describe("reads back what it has printed:", function()
    for _, case in ipairs(CASES) do
      it(table.concat(case[1], " "), function()
        local argv = { unpack(case[1]) }
        argv[#argv + 1], argv[#argv + 2] = "-O", "json"
        files["a.yaml"] = case[2]
        local code
        code, files["a.json"] = run(argv)
        assert.same(0, code)
        -- the keys of files are printed in lower case
        assert.same(case[2]:lower(), printed({ "-C", "a.yaml" }):lower())
        assert.same(case[2]:lower(), printed({ "-C", "a.json" }):lower())
        assert.same(case[2], printed { "-C", files["a.json"] })
      end)
    end
  end)

  describe("flags", function()
    for _, case in ipairs {
      { { "-D" }, { debug = true } },
      { { "--D=false", "-DD=1" }, { debug = false, trace = true } },
      { { "-R", "30s" }, { reload = 30 } },
      { { "-R=1m" }, { reload = 60 } },
      { { "-O", "json", "-O=yaml" }, { output = "yaml" } },
      { { "-L", "-x", "-L=b=c" }, { services = { "-x", "b=c" } } },
      { { "-D", "true", "-V" }, { debug = true, rest = { "true", "-V" } } },
      { { "--", "-V" }, { rest = { "-V" } } },
      { { "-", "-V" }, { rest = { "-", "-V" } } },
      { { "check", "-C", "x" }, { command = "check", configs = { "x" } } },
      { { "--workers", "4", "--drain", "5s" }, { workers = 4, drain = 5 } },
      { { "-h" }, { help = true } },
      { { "-L", "a", "-F", "b", "-F", "c" }, { services = { "a" }, nodes = { "b", "c" } } },
    } do
      it("takes " .. table.concat(case[1], " "), function()
        local options = assert(cli.parse(case[1]))
        for key, value in pairs(case[2]) do
          assert.same(value, options[key])
        end
      end)
    end

    for _, case in ipairs {
      { { "-x" }, "flag provided but not defined: -x" },
      { { "-l", ":80" }, "did you mean" },
      { { "-L" }, "flag needs an argument: -L" },
      { { "-D=maybe" }, "invalid boolean value" },
      { { "-R", "10" }, "invalid value" },
      { { "-workers", "-1" }, "invalid value" },
      { { "-workers", "0" }, "1 to 256 are possible" },
      { { "chek", "-C", "x.yml" }, "there is no command \"chek\"; did you mean check?" },
      { { "http://:8080" }, "a service is given as -L http://:8080" },
      { { "gost.yml" }, "a configuration is given as -C gost.yml" },
      { { "---L", "x" }, "bad flag syntax: ---L" },
      { { "-=x" }, "bad flag syntax" },
    } do
      it("refuses " .. table.concat(case[1], " "), function()
        local code, _, err = run(case[1])
        assert.same(2, code)
        assert.match(case[2], err, 1, true)
        assert.match("\ntidegate: %-h lists all commands and flags\n$", err)
      end)
    end
  end)

  it("prints usage and version", function()
    local code, out = run { "-h" }
    assert.same(0, code)
    assert.match("service list", out, 1, true)
    code, out = run({ "-V" }, { version = "9.9" })
    assert.same(0, code)
    assert.match("^tidegate 9%.9 %(LuaJIT [^ ]+ %l+/%w+%)\n$", out)
  end)

  describe("workers", function()
    it("are split at --", function()
      local code, _, _, list = run { "-L", "a  b", "--", "-L", "c", "--", "-D" }
      assert.same({ 1, { { "-L", "a  b" }, { "-L", "c" }, { "-D" } } }, { code, list })
    end)

    it("are not split at a first or last --", function()
      local _, _, _, seen = run { "-L", ":80", "--" }
      assert.same({ ":80" }, seen.options.services)
    end)
  end)

  describe("merging", function()
    it("joins lists, the command line last, and replaces single objects", function()
      files["a.yaml"] = "log: {level: warn, format: text}\nservices: [{name: a, addr: ':1'}]"
      files["b.json"] = '{"log": {"output": "none"}, "services": [{"name": "b", "addr": ":2"}]}'
      local out = printed { "-C", "a.yaml", "-C", "b.json", "-L", ":3" }
      assert.match("name: a.-name: b.-name: service%-0", out)
      assert.match("log:\n  output: none\n$", out)
    end)

    it("takes the environment over files and flags over the environment", function()
      environment.GOST_LOGGER_LEVEL = "error"
      environment.GOST_API = ":1"
      environment.GOST_METRICS = "unix:///m"
      environment.GOST_PROFILING = ":2"
      files["a.yaml"] = "api: {addr: ':9', accesslog: true}\nlog: {level: warn}"
      local out = printed { "-C", "a.yaml", "-L", ":3", "-D", "-metrics", "u:p@:7?path=/x" }
      assert.match("log:\n  level: debug\n", out, 1, true)
      assert.match("profiling:\n  addr: :2\napi:\n  addr: :1\n  accesslog: true\n", out, 1, true)
      assert.match("metrics:\n  addr: :7\n  path: /x\n  auth:\n    username: u", out, 1, true)
    end)

    it("names targets after the worker", function()
      environment._GOST_ID = "2"
      assert.match("name: go-2@target-0", printed { "-L", "tcp://:1/h:2" }, 1, true)
    end)

    it("searches for a file when nothing else is given", function()
      environment.HOME = "/home/me"
      files["tidegate.yml"] = "services: [{name: found, addr: ':1'}]"
      assert.match("name: found", printed {}, 1, true)
      files["gost.yaml"] = "services: [{name: first, addr: ':1'}]"
      assert.match("name: first", printed { "-F", "http://h:1" }, 1, true)
      files["/home/me/.gost/gost.json"] = '{"services": [{"name": "home", "addr": ":1"}]}'
      assert.match("name: home", printed {}, 1, true)
    end)

    it("says what to do when there is nothing", function()
      local code, _, err = run {}
      assert.same(2, code)
      assert.match("nothing to do: give -L or -C", err, 1, true)
    end)
  end)

  describe("starting", function()
    it("runs a valid configuration with its defaults filled in", function()
      files["a.yaml"] = "services: [{name: s, addr: ':1'}]"
      local code, _, err, seen = run { "-C", "a.yaml" }
      assert.same({ 0, "" }, { code, err })
      assert.same({ "auto", "tcp" }, {
        seen.config.services[1].handler.type, seen.config.services[1].listener.type,
      })
    end)

    it("gives every node of a list its own server name", function()
      local code, _, err, seen = run { "-L", "http://:1", "-F", "http://a:1,[::1]:2" }
      assert.same({ 0, "" }, { code, err })
      local nodes = seen.config.chains[1].hops[1].nodes
      assert.same({ "a", "::1" }, { nodes[1].dialer.tls.serverName, nodes[2].dialer.tls.serverName })
    end)

    it("ends with 2 and one line for each problem", function()
      files["a.yaml"] = "services:\n- name: s\n  addr: x\n  handler: {type: htpp}\n  lisener: {}"
      local code, _, err, seen = run { "-C", "a.yaml" }
      assert.same(2, code)
      assert.is_nil(seen)
      assert.match('a.yaml:3: services[0].addr: "x" has no port', err, 1, true)
      assert.match('a.yaml:4: services[0].handler.type: unknown handler "htpp"; did you mean http',
        err, 1, true)
      assert.match("a.yaml:5: services[0].lisener: unknown key; did you mean listener", err, 1, true)
    end)

    it("takes what a script declares", function()
      local code, _, err, seen = run({ "-C", "x.lua" }, {
        load_script = function(path)
          assert.same("x.lua", path)
          return { services = { { name = "s", addr = ":1" } }, scripts = { "x.lua" } }
        end,
      })
      assert.same({ 0, "" }, { code, err })
      assert.same({ "x.lua" }, seen.config.scripts)
    end)

    it("tells where a script fails", function()
      local code, _, err = run({ "-C", "x.lua" }, {
        load_script = function() return nil, "x.lua:3: boom" end,
      })
      assert.same({ 2, "tidegate: x.lua:3: boom\n" }, { code, err })
    end)

    it("loads scripts that a file names", function()
      files["a.yaml"] = "scripts: [x.lua]\nservices: [{name: a, addr: ':1'}]"
      local _, _, _, seen = run({ "-C", "a.yaml" }, {
        load_script = function(path)
          return { services = { { name = "b", addr = ":2" } }, scripts = { path } }
        end,
      })
      assert.same({ "x.lua" }, seen.config.scripts)
      assert.same({ "a", "b" }, { seen.config.services[1].name, seen.config.services[2].name })
    end)

    it("never shows a password", function()
      local _, _, err = run { "-L", "http://me:secret@:abc?auth=c2VjcmV0" }
      assert.is_nil(err:find("secret", 1, true))
      assert.is_nil(err:find("c2VjcmV0", 1, true))
      assert.match("-L http://***@:abc", err, 1, true)
    end)
  end)

  describe("check", function()
    it("is content with what is fine", function()
      local code, out = run { "check", "-L", "http://:8080", "-F", "http://h:80" }
      assert.same({ 0, "the configuration is fine\n" }, { code, out })
    end)

    it("counts what is not", function()
      local code, _, err = run { "check", "-L", "foo://:8080" }
      assert.same(2, code)
      assert.match('-L foo://:8080: unknown scheme "foo"', err, 1, true)
      assert.match("1 error, 0 warnings", err, 1, true)
    end)
  end)
end)
