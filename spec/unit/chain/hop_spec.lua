local hop = require "tidegate.chain.hop"

local unique = 0

local BYPASSES = {
  all = { contains = function(_, _, _, address) return address ~= "" end },
  inner = { contains = function(_, _, network, address, info)
    return network == "tcp" and address == "10.0.0.1:80" and info.host == "inner.example:80"
  end },
}

-- A hop of targets; "failed" fields are marked failed.
local function make(config, bypasses)
  unique = unique + 1
  for i, item in ipairs(config.nodes) do
    item.name = item.name or tostring(i)
    item.addr = item.addr or "192.0.2.1:" .. i
  end
  local made = assert(hop.new(config, {
    scope = "hop-spec-" .. unique,
    targets = true,
    registry = { bypasses = bypasses or BYPASSES },
  }))
  for i, item in ipairs(config.nodes) do
    if item.failed then
      made.nodes[i].mark:fail()
    end
  end
  return made
end

local function pick(made, times, request, address)
  local out = {}
  for i = 1, times do
    local item = made:select(nil, "tcp", address or "a.example:80", request)
    out[i] = item and item.name or "-"
  end
  return table.concat(out)
end

local function rule(text, priority)
  return { rule = text, priority = priority }
end

local BACKUP = { backup = true }
local A, B = "Host(`a.example`)", "Host(`b.example`)"

-- what, nodes, expected picks for a.example:80, selector, request
local SELECTION = {
  { "takes turns without conditions", { {}, {}, {} }, "123123" },
  { "has none without nodes", {}, "--" },
  { "skips what has failed", { {}, { failed = true }, {} }, "1313" },
  { "takes the first failed one as the last resort", { { failed = true }, { failed = true } }, "111" },
  { "does not care whether the only one has failed", { { failed = true } }, "11" },
  { "takes whose rule is true", { { matcher = rule(B) }, { matcher = rule(A) } }, "22" },
  { "has none when no rule is true", { { matcher = rule(B) } }, "-" },
  { "takes the first failed one whose rule is true as the last resort",
    { { matcher = rule(B), failed = true }, { matcher = rule(A), failed = true }, {} , }, "33" },
  { "prefers a failed one that fits to nothing",
    { { matcher = rule(B) }, { matcher = rule(A), failed = true } }, "22" },
  { "passes over the bypass of a node", { { bypass = "all" }, {} }, "22" },
  { "leaves a failed one out whose bypass keeps it out",
    { { bypass = "all", failed = true }, { failed = true } }, "22" },
  { "prefers the longer rule", { { matcher = rule(A) }, { matcher = rule(A .. " && Network(`tcp`)") }, {} }, "222" },
  { "prefers the higher priority", { { matcher = rule(A, 5) }, { matcher = rule(A .. " && Network(`tcp`)", 4) } },
    "11" },
  { "counts the rule as it is written", { { matcher = rule(A) }, { matcher = rule(" " .. A) } }, "22" },
  { "asks the selector among equals", { { matcher = rule(A, 7) }, { matcher = rule(A, 7) } }, "1212" },
  { "asks the selector within the highest priority",
    { {}, { matcher = rule(A, 7) }, { matcher = rule(A, 7) }, { matcher = rule(A, 3) } }, "2323" },
  { "never lets a negative priority win", { { matcher = rule(A, -1) }, {}, {} }, "2323" },
  { "takes a negative priority when it is alone", { { matcher = rule(A, -1) }, { matcher = rule(B) } }, "11" },
  { "chooses among negative priorities", { { matcher = rule(A, -1) }, { matcher = rule(A, -1) } }, "1212" },
  { "does not let a backup win by priority", { { matcher = rule(A, 9), metadata = BACKUP }, {} }, "22" },
  { "takes a backup when nothing else is there",
    { { matcher = rule(A, 9), metadata = BACKUP }, { failed = true } }, "11" },
  { "takes backups by priority among themselves",
    { { matcher = rule(A, 1), metadata = BACKUP }, { matcher = rule(A, 2), metadata = BACKUP } }, "22" },
  { "falls through groups of backups only",
    { { matcher = rule(A, 9), metadata = BACKUP }, { matcher = rule(A, 5) }, { matcher = rule(A, 5) } }, "2323" },
  { "uses backups when all others failed", { { metadata = BACKUP }, { failed = true } }, "11" },
  { "takes the first with fifo", { {}, {} }, "11", { strategy = "fifo" } },
  { "respects the limits of the selector", { { failed = true }, {} }, "1212", { maxFails = 2 } },
  { "respects the limits of a node", { { failed = true, metadata = { maxFails = 2 } }, {} }, "1212" },
  { "takes a node's limit of 0 for 1", { { failed = true, metadata = { maxFails = 0 } }, {} }, "22",
    { maxFails = 5 } },
  { "lets a node be left alone for a time of its own", { { failed = true, metadata = { failTimeout = 1e-9 } }, {} },
    "1212" },
  -- the old filter
  { "filters by host", { { filter = { host = "b.example" } }, { filter = { host = "a.example" } } }, "22" },
  { "filters by suffix", { { filter = { host = "*.example" } }, { filter = { host = ".b.example" } } }, "11" },
  { "filters by suffix, the name itself included", { { filter = { host = ".a.example" } } }, "1" },
  { "filters by suffix at label boundaries", { { filter = { host = ".example" } }, { filter = { host = "*ample" } } },
    "11" },
  { "filters by protocol", { { filter = { protocol = "tls" } }, { filter = { protocol = "http" } } }, "22", nil,
    { proto = "http" } },
  { "filters by path", { { filter = { path = "/b" } }, { filter = { path = "/a" } } }, "22", nil, { path = "/a/b" } },
  { "filters by all of them", { { filter = { host = "h", protocol = "http", path = "/a" } }, {} }, "22", nil,
    { host = "h:80", proto = "http", path = "/b" } },
  { "fails filters of hosts when there is no host", { { filter = { host = "*" } } }, "-", nil, {} },
  { "knows the old fields of forwarders", { { host = "b.example" }, { protocol = "http" } }, "22", nil,
    { proto = "http" } },
  { "prefers the matcher to the filter", { { matcher = rule(A), filter = { host = "b.example" } } }, "1" },
  { "uses the filter beside a matcher without a rule", { { matcher = { rule = "" }, filter = { host = "b" } } }, "-" },
}

describe("hop", function()
  for _, row in ipairs(SELECTION) do
    it(row[1], function()
      local made = make { nodes = row[2], selector = row[4] }
      assert.same(row[3], pick(made, #row[3], row[5]))
    end)
  end

  it("has no node for what its bypass contains", function()
    local made = make { bypass = "inner", nodes = { {} } }
    assert.same("1", pick(made, 1))
    assert.same("-", pick(made, 1, { host = "inner.example:80" }, "10.0.0.1:80"))
  end)

  it("joins several bypasses", function()
    local made = make { bypass = "inner", bypasses = { "all" }, nodes = { {} } }
    assert.same("-", pick(made, 1))
  end)

  it("asks no bypass about an address that is not known yet", function()
    local made = make { bypass = "all", nodes = { { bypass = "all" } } }
    assert.same("1", pick(made, 1, {}, ""))
  end)

  it("gives nodes what the hop says and they do not", function()
    local function answers(name)
      return { lookup = function() return { name } end }
    end
    local made = assert(hop.new({
      name = "h", hosts = "h", resolver = "h", bypass = "b",
      metadata = { interface = "lo", so_mark = 5, proxyProtocol = 1, netns = "hop" },
      nodes = {
        { name = "1", addr = "a:1" },
        { name = "2", addr = "a:1", hosts = "own", resolver = "own", bypass = "own",
          metadata = { interface = "127.0.0.1", so_mark = 6, proxyProtocol = 2 } },
        { name = "3", addr = "a:1", interface = "127.0.0.2", sockopts = { mark = 7 }, netns = "old" },
        { name = "4", addr = "a:1", interface = "127.0.0.2", sockopts = { mark = 7 }, netns = "old",
          metadata = { interface = "lo", so_mark = 8, netns = "new" } },
      },
    }, { targets = true, registry = { bypasses = { b = {}, own = {} }, hosts = {}, resolvers = {} } }))
    local one, two, three, four = unpack(made.nodes)
    assert.same({ "hop", "hop", "old", "new" }, { one.md.netns, two.md.netns, three.md.netns, four.md.netns })
    assert.same({ 7, 8, 2 }, { three.md.so_mark, four.md.so_mark, two.proxy_version })
    assert.same("lo", four.md.interface)
    assert.is_nil(one.bypass) -- the hop's is its own
    assert.is_truthy(two.bypass)

    made = assert(hop.new({
      name = "h", hosts = "h", resolver = "h", metadata = { interface = "lo", so_mark = 5, proxyProtocol = 1 },
      nodes = {
        { name = "1", addr = "a:1" },
        { name = "2", addr = "a:1", hosts = "own", resolver = "own",
          metadata = { interface = "127.0.0.1", so_mark = 6 } },
        { name = "3", addr = "a:1", interface = "127.0.0.2" },
      },
    }, { registry = { bypasses = {}, resolvers = { h = "by hop", own = "by itself" },
      hosts = { h = answers "h", own = answers "own" } } }))
    one, two, three = unpack(made.nodes)
    assert.same({ "by hop", "by itself" }, { one.resolver, two.resolver })
    assert.same({ "lo", 5, 1 }, { one.md.interface, one.md.so_mark, one.proxy_version })
    assert.same({ "127.0.0.1", 6 }, { two.md.interface, two.md.so_mark })
    assert.same("127.0.0.2", three.md.interface)
    assert.same({ "h" }, one.hosts:lookup(nil, "ip", "x"))
    assert.same({ "own" }, two.hosts:lookup(nil, "ip", "x"))
  end)

  it("refuses a rule that makes no sense", function()
    local made, err = hop.new({ name = "h", nodes = { { name = "n", addr = "a:1", matcher = rule "Nope(`x`)" } } },
      { targets = true, registry = {} })
    assert.is_nil(made)
    assert.is_truthy(tostring(err):find("node h/n: rule, column 1: there is no function", 1, true), tostring(err))
  end)

  it("wants to see bodies only when a rule looks at them", function()
    assert.is_nil(make { nodes = { { matcher = { rule = A, bodySize = 5 } } } }.body_size)
    local made = make { nodes = {
      { matcher = { rule = "BodyRegexp(`a`)", bodySize = 4096 } },
      { matcher = { rule = "BodyRegexp(`b`)", bodySize = 100 * 1024 * 1024 } },
    } }
    assert.same(10 * 1024 * 1024, made.body_size)
    assert.same(1024 * 1024, make { nodes = { { matcher = rule "BodyRegexp(`a`)" } } }.body_size)
  end)

  it("is fixed only when it has one node for everybody", function()
    assert.is_truthy(make { nodes = { {} } }.fixed)
    assert.is_nil(make { nodes = { {}, {} } }.fixed)
    assert.is_nil(make { nodes = { { matcher = rule(A) } } }.fixed)
    assert.is_nil(make { bypass = "all", nodes = { {} } }.fixed)
    assert.is_nil(make { file = { path = "x" }, nodes = { {} } }.fixed)
  end)

  it("takes the nodes that its sources have beside its own", function()
    local made = make { file = { path = "x" }, nodes = { {} } }
    made:load { { name = "a", addr = "192.0.2.2:1" }, { name = "b", addr = "192.0.2.2:2" } }
    assert.same("1ab1ab", pick(made, 6))
    local kept = made.nodes[3]
    made:load { { name = "b", addr = "192.0.2.2:2" }, { name = "c", addr = "192.0.2.2:3" } }
    assert.same("1bc", pick(made, 3))
    assert.equal(kept, made.nodes[2]) -- one that is as it was stays
    made:load {}
    assert.same("11", pick(made, 2))
  end)

  it("leaves loaded nodes out that make no sense, and lets the others inherit nothing", function()
    local lines = {}
    local registry = { bypasses = {}, log = { warn = function(_, text) lines[#lines + 1] = text end } }
    local made = assert(hop.new({
      name = "h", file = { path = "x" }, metadata = { so_mark = 5 },
      nodes = { { name = "i", addr = "a:1" } },
    }, { targets = true, registry = registry, data = {
      { name = "a", addr = "b:1" }, { name = "b", addr = "c:1", matcher = rule "Nope" },
    } }))
    assert.same("iai", pick(made, 3))
    assert.same(5, made.nodes[1].md.so_mark)
    assert.is_nil(made.nodes[2].md.so_mark)
    assert.same(1, #lines)
    assert.is_truthy(lines[1]:find("hop h: node h/b: rule, column 1", 1, true), lines[1])
  end)
end)
