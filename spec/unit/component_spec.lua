local component = require "tidegate.component"

describe("component", function()
  local made

  local function declare(kind, name, item)
    local declared = component[kind](name)(item)
    made[#made + 1] = declared
    return declared
  end

  before_each(function()
    made = {}
    component.set_listing(function() return {} end)
  end)

  after_each(function()
    for i = #made, 1, -1 do
      component.remove(made[i])
    end
    component.set_listing(nil)
    package.preload["tidegate.dialer.zz"] = nil
    package.loaded["tidegate.dialer.zz"] = nil
  end)

  it("registers what a script declares and finds it by name and alias", function()
    local item = declare("handler", "zz-echo", { doc = "echo", aliases = { "zz-parrot" } })
    assert.same({ "handler", "zz-echo" }, { item.kind, item.name })
    assert.equal(item, component.find("handler", "zz-echo"))
    assert.equal(item, component.find("handler", "zz-parrot"))
    assert.is_nil(component.find("listener", "zz-echo"))
    assert.same({ "zz-echo", "zz-parrot" }, component.known("handler"))
  end)

  it("gives back what a removed component had replaced", function()
    local first = declare("dialer", "zz-a", { aliases = { "zz-b" } })
    local second = declare("dialer", "zz-a", {})
    assert.equal(second, component.find("dialer", "zz-a"))
    component.remove(second)
    assert.equal(first, component.find("dialer", "zz-b"))
    component.remove(first)
    assert.is_nil(component.find("dialer", "zz-a"))
  end)

  it("loads modules on demand, by alias too", function()
    component.set_listing(function() return { "tidegate.dialer.zz", "tidegate.failure" } end)
    package.preload["tidegate.dialer.zz"] = function()
      return declare("dialer", "zz", { aliases = { "yy" } })
    end
    assert.same("zz", component.find("dialer", "yy").name)
    assert.same({ "yy", "zz" }, component.known("dialer"))
    assert.same({}, component.load_all())
  end)

  it("tells a module that is not there from one that fails", function()
    assert.is_nil(select(2, component.find("dialer", "zz-missing")))
    assert.is_nil(select(2, component.find("dialer", "../etc")))
    package.preload["tidegate.dialer.zz"] = function()
      require "tidegate.native.zz-missing"
    end
    local item, err = component.find("dialer", "zz")
    assert.is_nil(item)
    assert.same("config", err.code)
    assert.match("load dialer zz", tostring(err))
  end)

  it("raises for shapes that cannot be", function()
    local cases = {
      { "", {}, "name" },
      { "zz", 1, "must be a table" },
      { "zz", { doc = 1 }, "doc" },
      { "zz", { metadata = { k = {} } }, "unknown type" },
      { "zz", { metadata = { k = { type = "int", dflt = 1 } } }, "bad field dflt" },
    }
    for _, case in ipairs(cases) do
      assert.error_matches(function()
        component.handler(case[1])(case[2])
      end, case[3])
    end
  end)

  describe("metadata", function()
    local schema = {
      ["udp.bufferSize"] = { type = "int", aliases = { "udpBufferSize" }, default = 4096 },
      readTimeout = { type = "duration", default = 15 },
      period = { type = "duration", default = 5, min = 1 },
      udp = { type = "bool", default = false },
      rate = { type = "float" },
      host = { type = "string" },
      groups = { type = "list", split = "," },
      routes = { type = "list" },
      header = { type = "map" },
      gap = { type = "duration", default = 3, keep_zero = true },
      mode = { type = "string", values = { "a", "b" } },
    }

    local function value_of(key, raw)
      local values, problems, unknown = component.parse_metadata(schema, { [key] = raw })
      assert.same({}, unknown)
      return values[component.has_key(schema, key) and key], problems[1] and problems[1].message
    end

    it("applies defaults", function()
      local values, problems, unknown = component.parse_metadata(schema, nil)
      assert.same({
        ["udp.bufferSize"] = 4096, readTimeout = 15, period = 5, udp = false, gap = 3,
      }, values)
      assert.same({ {}, {} }, { problems, unknown })
    end)

    for _, case in ipairs {
      { "udp", "true", true }, { "udp", "1", true }, { "udp", 1, true }, { "udp", false, false },
      { "udp", "yes", false, "true or false" },
      { "udp.bufferSize", "8192", 8192 }, { "udp.bufferSize", 10, 10 },
      { "udp.bufferSize", true, 1 }, { "udp.bufferSize", 0, 4096 },
      { "udp.bufferSize", "1.5", 4096, "whole number" }, { "udp.bufferSize", "x", 4096, "number" },
      { "readTimeout", 5, 5 }, { "readTimeout", "5", 5 }, { "readTimeout", "1m30s", 90 },
      { "readTimeout", "-1s", -1 }, { "readTimeout", "0", 15 }, { "readTimeout", "abc", 15, "dur" },
      { "gap", "0", 0 }, { "period", "10ms", 1 }, { "period", -1, 1 },
      { "rate", "2.5", 2.5 }, { "rate", 3, 3 }, { "rate", "x", nil, "number" },
      { "host", 8080, "8080" }, { "host", true, "true" }, { "host", {}, nil, "text" },
      { "groups", "a, b,,c", { "a", "b", "c" } }, { "groups", { "a,b" }, { "a,b" } },
      { "routes", "a,b", { "a,b" } }, { "routes", { 1, { x = 1 } }, { "1", { x = 1 } } },
      { "routes", "", nil }, { "header", { ["X-A"] = "b" }, { ["X-A"] = "b" } },
      { "header", "x", nil, "map" }, { "mode", "c", "c", "one of a, b" },
    } do
      it(("reads %s from %s"):format(case[1], tostring(case[2])), function()
        local value, problem = value_of(case[1], case[2])
        assert.same(case[3], value)
        if case[4] then
          assert.match(case[4], problem, 1, true)
        else
          assert.is_nil(problem)
        end
      end)
    end

    it("compares keys without case and takes the first alias present, usable or not", function()
      local values = component.parse_metadata(schema, { READTIMEOUT = "1s", UdpBufferSize = 7 })
      assert.same({ 1, 7 }, { values.readTimeout, values["udp.bufferSize"] })
      values = component.parse_metadata(schema, { ["udp.buffersize"] = "", udpBufferSize = 7 })
      assert.same(4096, values["udp.bufferSize"])
    end)

    it("reports keys it does not know", function()
      local _, _, unknown = component.parse_metadata(schema, { udb = 1, Foo = 2, udp = true })
      assert.same({ "Foo", "udb" }, unknown)
    end)
  end)
end)
