-- The examples of docs/api.md and docs/operating.md.

local cjson = require "cjson"
local examples = require "spec.helpers.examples"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

describe("the examples of operating", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("run", function()
    local ports, text = {}, examples.read "examples/operated.yml"
    text = text:gsub("127%.0%.0%.1:(%d+)", function(port)
      ports[port] = ports[port] or programs.free_port()
      return "127.0.0.1:" .. ports[port]
    end)
    local path = programs.file(programs.folder(), "operated.yml", text)
    proxy.start({ "-C", path }, { services = 1 })
    for port, asked in pairs { ["18080"] = "/api/docs/", ["9000"] = "/metrics", ["6060"] = "/debug/pprof/" } do
      programs.wait_port(ports[port])
      local result = programs.run("curl", { "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}",
        ("http://127.0.0.1:%d%s"):format(ports[port], asked) })
      assert.equal("200", result.stdout)
    end
  end)

  it("draw only series that there are", function()
    local dashboard = cjson.decode(examples.read "examples/grafana.json")
    local known = examples.read "lua/tidegate/metrics/text.lua"
    local seen = 0
    for _, panel in ipairs(dashboard.panels) do
      for _, target in ipairs(panel.targets) do
        for name in target.expr:gmatch "[%w_]+" do
          if name:find "^gost_" or name:find "^tidegate_" or name:find "^process_" then
            assert.is_truthy(known:find('"' .. name:gsub("_bucket$", "") .. '"', 1, true), name)
            seen = seen + 1
          end
        end
      end
    end
    assert.is_true(seen > 15)
  end)
end)
