local hosts = require "tidegate.policy.hosts"

local function make(mappings, loaded)
  local config = { name = "h", mappings = mappings }
  local data = assert(hosts.prepare(config, loaded))
  return assert(hosts.new(config, { name = "h", data = data })), data
end

local function items(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do
    list[#list + 1] = hosts.loader.line(line)
  end
  return list
end

describe("hosts", function()
  for _, case in ipairs {
    { "the name itself", "a.example", "ip", { "192.0.2.1", "2001:db8::1" } },
    { "in any case", "A.Example", "ip", { "192.0.2.1", "2001:db8::1" } },
    { "with a final dot", "a.example.", "ip", { "192.0.2.1", "2001:db8::1" } },
    { "IPv4 only", "a.example", "ip4", { "192.0.2.1" } },
    { "IPv6 only", "a.example", "ip6", { "2001:db8::1" } },
    { "nothing of the family, and no further key", "four.b.example", "ip6", nil },
    { "a suffix, for the name it is made of", "b.example", "ip", { "192.0.2.2" } },
    { "a suffix, for what is below", "x.y.b.example", "ip", { "192.0.2.2" } },
    { "the longest suffix first", "x.deep.b.example", "ip", { "192.0.2.3" } },
    { "an exact name before a suffix", "four.b.example", "ip", { "192.0.2.4" } },
    { "an alias", "alias.example", "ip", { "192.0.2.1" } },
    { "no part of a label", "xb.example", "ip", nil },
    { "no other name", "c.example", "ip", nil },
    { "IPv4 of an IPv4-mapped address", "mapped.example", "ip4", { "192.0.2.9" } },
  } do
    it("finds " .. case[1], function()
      local h = make {
        { ip = "192.0.2.1", hostname = "a.Example", aliases = { "alias.example" } },
        { ip = "2001:db8::1", hostname = "a.example" },
        { ip = "192.0.2.1", hostname = "a.example" },
        { ip = "192.0.2.2", hostname = ".b.example" },
        { ip = "192.0.2.3", hostname = ".deep.b.example" },
        { ip = "192.0.2.4", hostname = "four.b.example" },
        { ip = "::ffff:192.0.2.9", hostname = "mapped.example" },
        { ip = "", hostname = "c.example" },
        { ip = "no address", hostname = "c.example" },
        { ip = "192.0.2.5", hostname = "" },
      }
      assert.same(case[4], h:lookup(nil, case[3], case[2]))
    end)
  end

  it("has a name for everything else", function()
    local h = make { { ip = "192.0.2.1", hostname = "." }, { ip = "192.0.2.2", hostname = "a.example" } }
    assert.same({ "192.0.2.1" }, h:lookup(nil, "ip", "what.ever"))
    assert.same({ "192.0.2.2" }, h:lookup(nil, "ip", "a.example"))
    assert.is_nil(h:lookup(nil, "ip6", "what.ever"))
  end)

  it("reads lines: an address, names, comments; nonsense is left out", function()
    local h = make(nil, {
      file = items("192.0.2.1\ta.example  b.example # both\n# nothing\nno.address c.example\n192.0.2.3\n\n"
        .. "2001:db8::1 a.example"),
      http = items "192.0.2.4 .d.example",
    })
    assert.same({ "192.0.2.1", "2001:db8::1" }, h:lookup(nil, "ip", "a.example"))
    assert.same({ "192.0.2.1" }, h:lookup(nil, "ip", "b.example"))
    assert.is_nil(h:lookup(nil, "ip", "c.example"))
    assert.same({ "192.0.2.4" }, h:lookup(nil, "ip", "x.d.example"))
  end)

  it("takes another table", function()
    local h = make { { ip = "192.0.2.1", hostname = "a" } }
    h:load(hosts.prepare({ mappings = { { ip = "192.0.2.2", hostname = "b" } } }, {}))
    assert.is_nil(h:lookup(nil, "ip", "a"))
    assert.same({ "192.0.2.2" }, h:lookup(nil, "ip", "b"))
  end)

  it("keeps large tables once, and gives their memory back", function()
    local lines = {}
    for i = 1, 100000 do
      lines[i] = ("10.%d.%d.%d host-%d.example alias-%d.example"):format(math.floor(i / 65536),
        math.floor(i / 256) % 256, i % 256, i, i)
    end
    local h, data = make({ { ip = "192.0.2.1", hostname = ".suffix.example" } }, { file = lines })
    assert.same({ "10.1.134.160" }, h:lookup(nil, "ip", "alias-100000.example"))
    assert.same({ "192.0.2.1" }, h:lookup(nil, "ip", "a.suffix.example"))
    assert.is_nil(h:lookup(nil, "ip", "host-100001.example"))
    assert.is_string(data.dict)

    local _, again = make({ { ip = "192.0.2.1", hostname = ".suffix.example" } }, { file = lines })
    assert.same(data, again)
    hosts.release(again)
    assert.same({ "10.0.0.1" }, h:lookup(nil, "ip", "host-1.example"))
    hosts.release(data)
    assert.is_nil(h:lookup(nil, "ip", "host-1.example"))
    lines[1] = "192.0.2.1 host-1.example"
    local _, other = make(nil, { file = lines })
    assert.same(data.dict, other.dict)
    assert.is_nil(h:lookup(nil, "ip", "host-1.example"), "the table is another's now")
    hosts.release(other)
    assert.same(0, require("tidegate.native.shared").dict(data.dict):count())
  end)

  it("asks scripts", function()
    local h = hosts.scripted {
      lookup = function(_, _, network, host)
        return host == "a" and (network == "ip6" and "::1" or { "127.0.0.1", "nonsense" }) or nil
      end,
    }
    assert.same({ "127.0.0.1" }, h:lookup(nil, "ip", "a"))
    assert.same({ "::1" }, h:lookup(nil, "ip6", "a"))
    assert.is_nil(h:lookup(nil, "ip", "b"))
  end)

  it("is declared by scripts as a table of names", function()
    local h = make(hosts.declare({ ["a.example"] = "192.0.2.1", ["b.example"] = { "::1", "::2" } }).mappings)
    assert.same({ "192.0.2.1" }, h:lookup(nil, "ip", "a.example"))
    assert.same({ "::1", "::2" }, h:lookup(nil, "ip", "b.example"))
  end)
end)
