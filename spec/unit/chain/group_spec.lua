local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"

local unique = 0

-- Services of a configuration with one service "s", which tunnels to whatever the spec asks for.
local function build(fields)
  unique = unique + 1
  local config = { services = { { name = "group-spec-" .. unique, handler = { type = "tcp" } } } }
  for key, value in pairs(fields) do
    config[key] = value
  end
  for key, value in pairs(fields.handler or {}) do
    config.services[1].handler[key] = value
  end
  config.services[1].forwarder = fields.forwarder
  config.handler, config.forwarder = nil, nil
  local built, problems = plane.build(config)
  assert.same({}, problems)
  return built[config.services[1].name]
end

-- A chain with one node of a connector that only says who it is.
local function chain_of(name, address, metadata)
  return { name = name, metadata = metadata, hops = { { name = name, nodes = { {
    name = name, addr = address or "192.0.2.1:1", connector = { type = "named" }, dialer = { type = "tcp" },
  } } } } }
end

local function declare()
  plane.declare("connector", "named", {
    connect = function(_, _, stream)
      return stream
    end,
  })
end

-- Which chains connections to an address take.
local function routes(service, times, address)
  local out = {}
  for i = 1, times or 1 do
    local route, err = service.chain:route(service:context(), "tcp", address or "a.example:80")
    out[i] = route and (route[1] and route[1].name or "direct") or err.code
  end
  return table.concat(out, " ")
end

local A, B = { rule = "Host(`a.example`)" }, { rule = "Host(`b.example`)" }

-- what, chainGroup, expected, chain
local GROUPS = {
  { "takes turns among chains", { chains = { { chain = "x" }, { chain = "y" } } }, "x y x y" },
  { "puts the single chain first", { chains = { { chain = "y" }, { chain = "z" } } }, "x y z x", "x" },
  { "takes whose rule is true", { chains = { { chain = "x", matcher = B }, { chain = "y", matcher = A } } }, "y y" },
  { "keeps those without a rule", { chains = { { chain = "x", matcher = B }, { chain = "y" },
    { chain = "z", matcher = A } } }, "y z y" },
  { "dials directly when no rule is true", { chains = { { chain = "x", matcher = B } } }, "direct" },
  { "does not care for priorities", { chains = { { chain = "x", matcher = { rule = A.rule, priority = 1 } },
    { chain = "y", matcher = { rule = A.rule, priority = 9 } } } }, "x y x" },
  { "looks at the network as well", { chains = { { chain = "x", matcher = { rule = "Network(`udp`)" } },
    { chain = "y", matcher = { rule = "Network(`tcp`)" } } } }, "y" },
  { "takes the first with fifo", { selector = { strategy = "fifo" },
    chains = { { chain = "y" }, { chain = "x" } } }, "y y" },
  { "uses chains that are backups last", { chains = { { chain = "spare" }, { chain = "x" } } }, "x x" },
}

describe("chain group", function()
  after_each(plane.cleanup)

  local CHAINS = { chain_of "x", chain_of "y", chain_of "z", chain_of("spare", nil, { backup = true }) }

  for _, row in ipairs(GROUPS) do
    it(row[1], function()
      declare()
      local service = build { chains = CHAINS, handler = { chain = row[4], chainGroup = row[2] } }
      assert.same(row[3], routes(service, select(2, row[3]:gsub("%S+", ""))))
    end)
  end

  local function two(fields)
    local group = { selector = { strategy = "fifo" }, chains = { { chain = fields[1] }, { chain = fields[2] } },
      fallback = fields.fallback }
    return build {
      chains = { chain_of(fields[1]), chain_of(fields[2]) }, handler = { chainGroup = group },
    }
  end

  it("leaves a chain out whose entry failed", function()
    declare()
    local service = two { "p1", "q1" }
    service.chain.entries[1].mark.probed:fail()
    assert.same("q1", routes(service))
  end)

  it("leaves a chain out over which connections failed", helpers.task(function()
    declare()
    local nobody, echo = plane.nobody(), plane.echo()
    local service = build {
      chains = { chain_of("dead", nobody), chain_of("alive", echo) },
      handler = { retries = 1, chainGroup = { selector = { strategy = "fifo" },
        chains = { { chain = "dead" }, { chain = "alive" } } } },
    }
    local ctx = service:context()
    ctx.remote, ctx.local_address, ctx.client = "192.0.2.1:1", "192.0.2.2:2", "192.0.2.1:1"
    local stream = assert(ctx:connect("tcp", "a.example:80"))
    stream:close()
    assert.same("alive@" .. echo .. " > a.example:80", ctx.route)
    assert.same("alive alive", routes(service, 2))
  end))

  it("fails rather than go around the chains when all of them failed", function()
    declare()
    local service = two { "p2", "q2" }
    service.chain.entries[1].mark.probed:fail()
    service.chain.entries[2].mark.used:fail()
    assert.same("unreachable", routes(service))
    local _, err = service.chain:route(service:context(), "tcp", "a:1")
    assert.is_truthy(tostring(err):find("all chains of the group have failed", 1, true))
  end)

  it("goes around them when it is told to", function()
    declare()
    local service = two { "p3", "q3", fallback = "direct" }
    service.chain.entries[1].mark.probed:fail()
    service.chain.entries[2].mark.probed:fail()
    assert.same("direct", routes(service))
  end)

  it("uses the only chain even if it failed", function()
    declare()
    local service = build { chains = { chain_of "p4" }, handler = { chainGroup = { chains = { { chain = "p4" } } } } }
    service.chain.entries[1].mark.probed:fail()
    assert.same("p4", routes(service))
  end)

  it("draws by the weight of the chains", function()
    declare()
    local service = build {
      chains = { chain_of("heavy", nil, { weight = 9 }), chain_of "light" },
      handler = { chainGroup = { selector = { strategy = "rand" }, chains = { { chain = "heavy" },
        { chain = "light" } } } },
    }
    local light = select(2, routes(service, 1000):gsub("light", ""))
    assert.is_true(light > 40 and light < 180, tostring(light))
  end)

  it("is switched off by ignoreChain", function()
    declare()
    unique = unique + 1
    local name = "group-spec-" .. unique
    local built = plane.build {
      chains = { chain_of "x" },
      services = { { name = name, metadata = { ignoreChain = true },
        handler = { type = "tcp", chain = "x", chainGroup = { chains = { { chain = "x" } } } } } },
    }
    assert.is_nil(built[name].chain)
  end)
end)

local function target(name, matcher)
  return { name = name, addr = "192.0.2.1:" .. #name, matcher = matcher, connector = { type = "named" } }
end

describe("hop group", function()
  after_each(plane.cleanup)

  local HOPS = {
    { name = "h1", nodes = { target "a", target "bb" } },
    { name = "h2", nodes = { target "c" } },
    { name = "h3", nodes = { target("d", { rule = "Path(`/d`)" }), target("e", { rule = "Path(`/e`)" }) } },
  }

  local function targets(service, times, request)
    local out = {}
    for i = 1, times do
      local node = service.forwarder:select(nil, "tcp", "", request)
      out[i] = node and node.name or "-"
    end
    return table.concat(out, " ")
  end

  -- what, hopGroup, expected, request
  for _, row in ipairs {
    { "takes turns among hops, and each hop among its nodes", { hops = { { hop = "h1" }, { hop = "h2" } } },
      "a c bb c" },
    { "takes the hops whose rule is true", { hops = { { hop = "h1", matcher = { rule = "Proto(`tls`)" } },
      { hop = "h2", matcher = { rule = "Proto(`http`)" } } } }, "c c", { proto = "http" } },
    { "has no target when no rule is true", { hops = { { hop = "h1", matcher = { rule = "Proto(`tls`)" } } } }, "-",
      { proto = "http" } },
    { "hands the request on to the hop", { hops = { { hop = "h3" } } }, "e", { path = "/e" } },
    { "knows nothing of a raw connection", { hops = { { hop = "h1", matcher = { rule = "Network(`tcp`)" } },
      { hop = "h2" } } }, "c" },
  } do
    it(row[1], function()
      declare()
      local service = build { hops = HOPS, forwarder = { hopGroup = row[2] } }
      assert.same(row[3], targets(service, select(2, row[3]:gsub("%S+", "")), row[4]))
    end)
  end

  it("takes the first hop that fits when all have failed", function()
    declare()
    local service = build { hops = HOPS, forwarder = { hopGroup = { hops = { { hop = "h2" }, { hop = "h1" } } } } }
    for _, entry in ipairs(service.forwarder.source.entries) do
      entry.mark.probed:fail()
    end
    assert.same("c c", targets(service, 2))
  end)

  it("comes before hop and nodes, and hop before nodes", function()
    declare()
    local nodes = { { name = "own", addr = "192.0.2.9:9" } }
    local group = { hops = { { hop = "h2" } } }
    assert.same("c", targets(build { hops = HOPS, forwarder = { hopGroup = group, hop = "h1", nodes = nodes } }, 1))
    assert.same("c", targets(build { hops = HOPS, forwarder = { hop = "h2", nodes = nodes } }, 1))
    assert.same("c", targets(build { hops = HOPS, forwarder = { name = "h2", nodes = nodes } }, 1))
    assert.same("own", targets(build { hops = HOPS, forwarder = { nodes = nodes } }, 1))
  end)
end)

describe("route with races", function()
  after_each(plane.cleanup)

  local function node(name, address, connector)
    return { name = name, addr = address, connector = { type = connector or "named" }, dialer = { type = "tcp" } }
  end

  local function connect(hops, fields)
    unique = unique + 1
    local service = build {
      chains = { { name = "race-" .. unique, hops = hops } },
      handler = { chain = "race-" .. unique, retries = fields and fields.retries },
    }
    local ctx = service:context()
    ctx.remote, ctx.local_address, ctx.client = "192.0.2.1:1", "192.0.2.2:2", "192.0.2.1:1"
    local stream, err = ctx:connect("tcp", "target.example:80")
    return stream, err, ctx, service
  end

  it("takes the first node that answers, a dead one beside it or not", helpers.task(function()
    declare()
    local echo, nobody = plane.echo(), plane.nobody()
    for _ = 1, 3 do
      local stream, _, ctx, service = connect { { name = "h", selector = { strategy = "parallel" }, nodes = {
        node("dead", nobody), node("alive", echo),
      } } }
      stream:write "x"
      assert.same("x", stream:read())
      stream:close()
      assert.same("alive@" .. echo .. " > target.example:80", ctx.route)
      local nodes = service.chain.hops[1].nodes
      assert.is_true(nodes[1].mark:failed())
      assert.is_false(nodes[2].mark:failed())
    end
  end))

  it("joins the errors when all fail", helpers.task(function()
    declare()
    local one, two = plane.nobody(), plane.nobody()
    local _, err = connect { { name = "h", selector = { strategy = "parallel" }, nodes = {
      node("one", one), node("two", two),
    } } }
    assert.same("refused", err.code)
    for _, text in ipairs { "parallel", "h/one named " .. one, "h/two named " .. two } do
      assert.is_truthy(tostring(err):find(text, 1, true), tostring(err))
    end
  end))

  it("gives up the others without blame", helpers.task(function()
    declare()
    local echo = plane.echo()
    plane.declare("dialer", "tardy", {
      dial = function(_, _, _, _, deadline)
        return require("tidegate.native.task").waiter():wait(deadline)
      end,
    })
    local late = node("late", "192.0.2.1:1")
    late.dialer.type = "tardy"
    local began = require("tidegate.native.task").now()
    local stream, _, _, service = connect { { name = "h", selector = { strategy = "parallel" }, nodes = {
      late, node("alive", echo),
    } } }
    stream:close()
    helpers.pass() -- and helpers.task() sees to it that no task is left
    assert.is_true(require("tidegate.native.task").now() - began < 5000)
    assert.is_false(service.chain.hops[1].nodes[1].mark:failed())
  end))

  it("closes what comes too late", helpers.task(function()
    declare()
    local ended = 0
    local function counting()
      return plane.accept(function(s)
        local bytes = s:read()
        while bytes do
          s:write(bytes)
          bytes = s:read()
        end
        s:close()
        ended = ended + 1
      end)
    end
    local stream = connect { { name = "h", selector = { strategy = "parallel" }, nodes = {
      node("one", counting()), node("two", counting()),
    } } }
    stream:write "x"
    assert.same("x", stream:read())
    helpers.eventually(function()
      return ended == 1
    end)
    stream:close()
    helpers.eventually(function()
      return ended == 2
    end)
  end))

  it("races over ways of their own behind other hops", helpers.task(function()
    declare()
    local echo = plane.echo()
    -- the way over the first hop answers at once for one node and late for the other
    plane.declare("connector", "picky", {
      connect = function(_, _, stream, _, address)
        if address == "192.0.2.1:1" then
          return nil, failure.new("refused", "no way there")
        end
        return stream
      end,
    })
    local stream, _, ctx, service = connect {
      { name = "front", nodes = { node("f", echo, "picky") } },
      { name = "back", selector = { strategy = "parallel" }, nodes = {
        node("dead", "192.0.2.1:1"), node("alive", "192.0.2.1:2"),
      } },
    }
    stream:write "x"
    assert.same("x", stream:read())
    stream:close()
    assert.same(("f@%s > alive@192.0.2.1:2 > target.example:80"):format(echo), ctx.route)
    assert.is_true(service.chain.hops[2].nodes[1].mark:failed())
    assert.is_false(service.chain.hops[1].nodes[1].mark:failed())
  end))

  it("counts connections of each node exactly", helpers.task(function()
    declare()
    local echo, other, nobody = plane.echo(), plane.echo(), plane.nobody()
    local hops = { { name = "count-" .. unique, selector = { strategy = "leastconn" }, nodes = {
      node("a", echo), node("b", other), node("dead", nobody),
    } } }
    local service = build { chains = { { name = "counting", hops = hops } }, handler = { chain = "counting",
      retries = 2 } }
    local nodes = service.chain.hops[1].nodes
    local open = {}
    for i = 1, 20 do
      local ctx = service:context()
      ctx.remote, ctx.local_address, ctx.client = "192.0.2.1:1", "192.0.2.2:2", "192.0.2.1:1"
      open[i] = { assert(ctx:connect("tcp", "target.example:80")), ctx }
    end
    assert.same({ 10, 10, 0 }, { nodes[1].load:get(), nodes[2].load:get(), nodes[3].load:get() })
    for _, item in ipairs(open) do
      item[1]:close()
    end
    assert.same({ 0, 0, 0 }, { nodes[1].load:get(), nodes[2].load:get(), nodes[3].load:get() })
  end))
end)
