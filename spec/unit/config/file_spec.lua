local file = require "tidegate.config.file"
local source = require "tidegate.config.source"
local writer = require "tidegate.config.writer"

describe("config.file", function()
  local real, files, problems, marks

  before_each(function()
    real, files, problems, marks = {}, {}, {}, {}
    for name, fn in pairs(source) do
      real[name] = fn
    end
    source.read_file = function(path)
      if files[path] then
        return files[path]
      end
      return nil, { message = "No such file or directory" }
    end
  end)

  after_each(function()
    for name, fn in pairs(real) do
      source[name] = fn
    end
  end)

  local options
  local function read(text, more)
    options = more or { problems = problems, marks = marks }
    return file.read(text, options)
  end

  local function yaml(text, format)
    files["a." .. (format or "yaml")] = text
    return read("a." .. (format or "yaml"))
  end

  it("prints a file as gost does", function()
    local config = yaml([[
services: [{name: s, addr: 8080, handler: {type: http, metadata: {readTimeout: 5, keepalive: yes,
  "http.header": {X-Foo: bar}}}}]
bypasses: [{name: b, reload: 10000000000, matchers: "a,b"}]
api: {}
]])
    assert.same({}, problems)
    assert.same([[
services:
  - name: s
    addr: "8080"
    handler:
      type: http
      metadata:
        http.header:
          x-foo: bar
        keepalive: "yes"
        readtimeout: 5
bypasses:
  - name: b
    matchers:
      - a,b
    reload: 10s
]], writer.write(config, "yaml", marks))
    assert.same("bar", config.services[1].handler.metadata["http.header"]["X-Foo"])
  end)

  describe("scalars of files", function()
    for _, case in ipairs {
      { "services: [{name: 0777}]", "services", "name", "511" },
      { "services: [{name: 1_000}]", "services", "name", "1000" },
      { "services: [{name: 0x1F}]", "services", "name", "31" },
      { "services: [{name: 1.5}]", "services", "name", "1.5" },
      { "services: [{name: true}]", "services", "name", "1" },
      { "services: [{name: 2026-01-01}]", "services", "name", "2026-01-01" },
      { "services: [{NAME: a}]", "services", "name", "a" },
      { "services: [{name: ~, addr: x}]", "services", "addr", "x" },
      { "services: [{handler: {retries: '0x10'}}]", "services", "handler",
        { retries = 16 } },
      { "services: [{handler: {retries: 2.9}}]", "services", "handler", { retries = 2 } },
      { "bypasses: [{whitelist: 'T', name: a}]", "bypasses", "whitelist", true },
      { "bypasses: [{reload: 1m30s}]", "bypasses", "reload", 90 },
      { "bypasses: [{reload: 1000000000}]", "bypasses", "reload", 1 },
      { "bypasses: {matchers: a}", "bypasses", "matchers", { "a" } },
      { "services: [&a {name: x, addr: ':1'}]\nhops: [{<<: *a, name: y}]", "hops", "name", "y" },
    } do
      it(case[1], function()
        assert.same(case[4], yaml(case[1])[case[2]][1][case[3]])
      end)
    end

    it("chain groups of plain names", function()
      local config = yaml "services: [{handler: {chainGroup: {chains: [a, {chain: b}]}}}]"
      assert.same({ { chain = "a" }, { chain = "b" } },
        config.services[1].handler.chainGroup.chains)
    end)

    for _, case in ipairs {
      { "services: [{handler: {retries: x}}]", "services[0].handler.retries", "whole number" },
      { "services: x", "services[0]", "must be a map" },
      { "bypasses: [{reload: 'ten'}]", "bypasses[0].reload", "not a duration" },
      { "bypasses: [{reload: '10'}]", "bypasses[0].reload", "without a unit" },
      { "bypasses: [{reload: 10}]", "bypasses[0].reload", "10 means nanoseconds; did you mean 10s?" },
      { "bypasses: [{whitelist: yes}]", "bypasses[0].whitelist", "true or false" },
      { "services: [{name: [a]}]", "services[0].name", "must be a text, not a list" },
      { "services: [{metadata: 5}]", "services[0].metadata", "must be a map" },
    } do
      it("wrong: " .. case[1], function()
        yaml(case[1])
        assert.same({ "a.yaml", 1, case[2] },
          { problems[1].file, problems[1].line, problems[1].path })
        assert.match(case[3], problems[1].message, 1, true)
      end)
    end
  end)

  it("says what to do with a file of gost v2, once", function()
    problems = {}
    yaml('{"Retries": 1,\n"ServeNodes": [":8080"],\n"ChainNodes": []}', "json")
    assert.equal(1, #problems)
    assert.match("give each of ServeNodes as -L", problems[1].message, 1, true)
  end)

  it("knows the line of every problem", function()
    yaml "services:\n- name: a\n  handler:\n    type: http\n    retries: many\n  lstener: {}\n"
    assert.same({ 5, "services[0].handler.retries" }, { problems[1].line, problems[1].path })
    assert.same({ 6, "services[0].lstener" }, { problems[2].line, problems[2].path })
    assert.match("did you mean listener", problems[2].message, 1, true)
    problems = {}
    yaml('{\n  "services": [\n    {\n      "name": "a",\n      "handler": {"retries": "x"}}]}', "json")
    assert.same({ 5, "services[0].handler.retries" }, { problems[1].line, problems[1].path })
  end)

  for _, case in ipairs {
    { "yaml", "services: [\n  a: b: c", 2 },
    { "yaml", "a: 1\na: 2", 2, "given twice, first on line 1" },
    { "yaml", "services: *nope", 1, "anchor" },
    { "json", '{"services": [}', 1, "a value expected" },
    { "json", '{"a": "x\n"}', 1, "without an end" },
    { "json", '{"a": 1} x', 1, "after the end" },
    { "json", '{"a" 1}', 1, '":" expected' },
  } do
    it(("refuses %s: %s"):format(case[1], case[2]), function()
      yaml(case[2], case[1])
      assert.same(case[3], problems[1].line)
      assert.match(case[4] or "", problems[1].message, 1, true)
    end)
  end

  it("stops at files that never end", function()
    local bomb = { "a0: &a0 [x, x, x, x, x, x, x, x, x, x]" }
    for i = 1, 12 do
      bomb[#bomb + 1] = ("a%d: &a%d [%s]"):format(i, i, (("*a%d, "):format(i - 1)):rep(10) .. "x")
    end
    yaml(table.concat(bomb, "\n"))
    assert.match("too many values", problems[1].message)
    problems = {}
    yaml(("["):rep(5000), "json")
    assert.match("nested too deeply", problems[1].message)
  end)

  describe("inline JSON", function()
    it("keeps the case of keys and takes numbers of nanoseconds", function()
      local config = read '{"services":[{"name":"s","metadata":{"FooBar":1}}],"api":{}}'
      assert.same(1, config.services[1].metadata.FooBar)
      assert.match("FooBar: 1", writer.write(config, "yaml", marks), 1, true)
      assert.same({}, config.api)
    end)

    it("is strict", function()
      read '{"services":[{"name":5}]}'
      assert.match("must be a text, not 5", problems[1].message, 1, true)
    end)

    it("knows escapes", function()
      local config = read [[{"services":[{"name":"\u00e9\ud83d\ude00\n\/"}]}]]
      assert.same("\195\169\240\159\152\128\n/", config.services[1].name)
    end)
  end)

  describe("other sources", function()
    it("standard input is JSON or YAML", function()
      for _, text in ipairs { '{"services": [{"name": "s"}]}', "services: [{name: s}]" } do
        source.read_stdin = function() return text end
        assert.same("s", read("-").services[1].name)
      end
      source.read_stdin = function() return nil, "EOF" end
      read "-"
      assert.same("EOF", problems[1].message)
    end)

    it("URLs say what they are", function()
      for _, case in ipairs {
        { "http://h/x", "application/json; charset=utf-8", '{"services": [{"name": "s"}]}' },
        { "https://h/x.JSON?a", "text/plain", '{"services": [{"name": "s"}]}' },
        { "http://h/x", "text/plain", "services: [{name: s}]" },
      } do
        source.fetch = function(address)
          assert.same(case[1], address)
          return { status = 200, content_type = case[2], body = case[3] }
        end
        assert.same("s", read(case[1]).services[1].name)
      end
      source.fetch = function() return { status = 404, body = "" } end
      read "http://u:p@h/x"
      assert.same({ "http://***@h/x", "answered with status 404" },
        { problems[1].file, problems[1].message })
    end)

    for path, message in pairs {
      ["a.toml"] = "toml files are not read; known are .yaml",
      ["a.conf"] = 'unknown format "conf"',
      ["missing.yaml"] = "cannot be read: No such file",
      ["missing"] = "cannot be read: No such file",
      ["a"] = "what it is its name does not say; known are .yaml",
    } do
      it(path .. " is refused", function()
        files.a, files["a.conf"] = "x", "x"
        read(path)
        assert.match(message, problems[1].message, 1, true)
        assert.same(path, problems[1].file)
      end)
    end

    it("a file without extension is what the one before was", function()
      files["a.yaml"], files.b = "services: [{name: a}]", "services: [{name: b}]"
      local kept = { problems = problems, marks = marks }
      read("a.yaml", kept)
      assert.same("b", read("b", kept).services[1].name)
    end)

    it("Lua needs the executable", function()
      read "a.lua"
      assert.match("need the tidegate executable", problems[1].message)
    end)
  end)
end)
