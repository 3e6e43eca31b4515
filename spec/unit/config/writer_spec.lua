local writer = require "tidegate.config.writer"

local function yaml_of(value)
  return writer.write({ services = { { name = value } } }, "yaml"):match("name: (.*)\n$")
end

describe("config.writer", function()
  for value, expected in pairs {
    [":8080"] = ":8080", ["8080"] = '"8080"', ["true"] = '"true"', n = '"n"', yes = '"yes"',
    ["*.example.com"] = "'*.example.com'", ["[::1]:80"] = "'[::1]:80'", ["$ 100MB "] = "'$ 100MB '",
    ["$$  10KB"] = "$$  10KB", ["~10.0.0.0/8"] = "~10.0.0.0/8", ["~"] = '"~"', [""] = '""',
    ["a: b"] = "'a: b'", ["a:b"] = "a:b", ["a #b"] = "'a #b'", ["a#b"] = "a#b", ["it's"] = "it's",
    ["'x"] = "'''x'", ["-"] = "'-'", ["- a"] = "'- a'", ["-a"] = "-a", ["a\tb"] = '"a\\tb"',
    ["a\nb"] = "|-\n      a\n      b", ["a\nb\n"] = "|\n      a\n      b", ["1:20"] = '"1:20"',
    ["1.2.3.4:80"] = "1.2.3.4:80", ["8080:22"] = '"8080:22"', ["1.5"] = '"1.5"', ["1e3"] = '"1e3"',
    ["0x1F"] = '"0x1F"', ["2026-01-01T00:00:00Z"] = '"2026-01-01T00:00:00Z"', ["@a"] = "'@a'",
    ["a:"] = "'a:'", ["?"] = "'?'", ["?a"] = "?a", ["<<"] = '"<<"', ["null"] = '"null"',
    [".5"] = '".5"', ["..."] = "'...'", ["h\195\169"] = "h\195\169", ["a\1"] = '"a\\x01"',
    ["100MB"] = "100MB", ["5s"] = "5s", ["\n"] = '"\\n"', ["\n\n"] = '"\\n\\n"',
  } do
    it(("writes %q in YAML"):format(value), function()
      assert.same(expected, yaml_of(value))
    end)
  end

  it("writes JSON as Go does", function()
    local config = {
      services = { { name = "<a&b>", handler = { metadata = { b = 1, a = { "x", true } } } } },
      bypasses = { { name = "b", reload = 1.5, matchers = {} } },
      hops = { {
        name = "h",
        nodes = { { name = "n", http = { rewriteURL = { { match = "a", replacement = "b" } } },
          probe = { type = "tcp" } } },
      } },
    }
    assert.same([[
{
  "services": [
    {
      "name": "\u003ca\u0026b\u003e",
      "handler": {
        "type": "",
        "metadata": {
          "a": [
            "x",
            true
          ],
          "b": 1
        }
      }
    }
  ],
  "hops": [
    {
      "name": "h",
      "nodes": [
        {
          "name": "n",
          "http": {
            "rewriteURL": [
              {
                "Match": "a",
                "Replacement": "b"
              }
            ]
          },
          "probe": {
            "type": "tcp",
            "interval": 0,
            "timeout": 0
          }
        }
      ]
    }
  ],
  "bypasses": [
    {
      "name": "b",
      "reload": 1500000000
    }
  ]
}
]], writer.write(config, "json"))
  end)

  it("prints what is always printed", function()
    assert.same("services: []\n", writer.write({}, "yaml"))
    assert.same('{\n  "services": null\n}\n', writer.write({}, "json"))
    assert.same([[
services:
  - name: ""
    forwarder:
      selector:
        strategy: ""
        maxFails: 0
        failTimeout: 0s
      nodes: []
tls: {}
]], writer.write({ services = { { forwarder = { selector = {} } } }, tls = {} }, "yaml"))
  end)

  it("orders keys by the numbers in them", function()
    local text = writer.write({ services = { { metadata = { a10 = 1, a9 = 2, ["a.b"] = 3, aB = 4 } } } },
      "yaml")
    assert.match("a.b: 3\n +a9: 2\n +a10: 1\n +aB: 4\n", text)
  end)
end)
