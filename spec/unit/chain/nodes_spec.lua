local helpers = require "spec.helpers"
local hop = require "tidegate.chain.hop"
local nodes = require "tidegate.chain.nodes"
local plane = require "spec.helpers.plane"

describe("nodes from elsewhere", function()
  it("are JSON in the API's schema, with durations in nanoseconds or as texts", function()
    local list = assert(nodes.parse [==[[
      {"name": "a", "addr": "192.0.2.1:1", "connector": {"type": "socks5", "auth": {"username": "u"}},
       "probe": {"type": "tcp", "addr": "x", "interval": 1500000000, "timeout": "2s"},
       "metadata": {"weight": 3}},
      {"name": "b", "addr": "192.0.2.1:2", "matcher": {"rule": "Host(`a`)", "priority": 5}}
    ]]==])
    assert.same(2, #list)
    assert.same({ "a", "192.0.2.1:1", "socks5", "u", 1.5, 2, 3 }, { list[1].name, list[1].addr,
      list[1].connector.type, list[1].connector.auth.username, list[1].probe.interval, list[1].probe.timeout,
      list[1].metadata.weight })
    assert.same({ "Host(`a`)", 5 }, { list[2].matcher.rule, list[2].matcher.priority })
  end)

  for _, text in ipairs { "", "{", "{}", "[1]", '[{"addr": 5, "probe": {"interval": "soon"}}]', "null" } do
    it(("refuse %q"):format(text), function()
      local list, err = nodes.parse(text)
      assert.is_nil(list)
      assert.same("config", err.code)
    end)
  end

  it("are joined in the order of their sources, each of which keeps its last good ones", function()
    local config = { name = "h" }
    local function names(loaded)
      local out = {}
      for i, item in ipairs(nodes.prepare(config, loaded)) do
        out[i] = item.name
      end
      return table.concat(out)
    end
    local function text(name)
      return ('[{"name": "%s", "addr": "a:1"}]'):format(name)
    end
    assert.same("", names {})
    assert.same("abc", names { http = text "c", redis = text "b", file = text "a" })
    assert.same("adc", names { http = "[", redis = text "d", file = text "a" })
    assert.same("ad", names { http = "[]", redis = "oops", file = text "a" })
  end)
end)

describe("hop of a plugin", function()
  after_each(helpers.task(plane.cleanup))

  it("makes nodes of the answers, one for equal answers", helpers.task(function()
    local asked, answer = {}, nil
    local address = plane.accept(function(s)
      local head = s:read_until("\r\n\r\n", 8192)
      asked[#asked + 1] = s:read_exact(tonumber(head:match "[Cc]ontent%-[Ll]ength: (%d+)"))
      s:write(("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"):format(#answer), answer)
      s:close()
    end)
    local lines = {}
    local log = setmetatable({}, { __index = function()
      return function(_, text)
        lines[#lines + 1] = text
      end
    end })
    local made = assert(hop.new({ name = "h", plugin = { type = "http", addr = "http://" .. address } },
      { registry = { log = log, bypasses = {}, resolvers = {}, hosts = {} } }))

    answer = '{"name": "p", "addr": "192.0.2.1:1", "connector": {"type": "socks5"}, "dialer": {"type": "tcp"}}'
    local node = assert(made:select(nil, "tcp", "192.0.2.9:80", { host = "a.example:80", path = "/x" }))
    assert.same({ "p", "192.0.2.1:1", "h/p", "socks5" }, { node.name, node.addr, node.label, node.kind })
    for _, part in ipairs { '"network":"tcp"', '"addr":"192.0.2.9:80"', '"host":"a.example:80"', '"path":"/x"' } do
      assert.is_truthy(asked[1]:find(part, 1, true), asked[1])
    end
    assert.equal(node, made:select(nil, "tcp", "192.0.2.9:81"))

    answer = '{"name": "q", "addr": "192.0.2.1:2"}'
    assert.same("q", made:select(nil, "tcp", "192.0.2.9:80").name)
    assert.same({}, lines)
    answer = '{"name": "q", "probe": {"interval": "soon"}}'
    assert.is_nil((made:select(nil, "tcp", "192.0.2.9:80")))
    assert.is_truthy(lines[1]:find("hop h: the plugin's answer", 1, true), lines[1])
    made:close()
  end))
end)

