-- Which hosts and resolvers are asked, and when: for targets and for nodes.

local fake = require "spec.helpers.dns"
local plane = require "spec.helpers.plane"

local function test(fn)
  return fake.test(function()
    local ok, err = xpcall(fn, debug.traceback)
    plane.cleanup()
    assert(ok, err)
  end)
end

-- A connector that writes down where it is told to go, and goes nowhere.
local function note_path(seen)
  plane.declare("connector", "noting", {
    connect = function(self, _, stream, network, address)
      seen[#seen + 1] = ("%s: %s %s"):format(self.node.name, network, address)
      return stream
    end,
  })
end

local function node(name, address, more)
  local made = { name = name, addr = address, connector = { type = "noting" }, dialer = { type = "tcp" } }
  for key, value in pairs(more or {}) do
    made[key] = value
  end
  return made
end

local function build(config)
  local handler = { type = "tcp", chain = config.chains and "c" }
  config.services = { { name = "s", handler = handler, resolver = config.resolver, hosts = config.host } }
  local built, problems = plane.build(config)
  assert.same({}, problems)
  local ctx = built.s:context()
  ctx.remote, ctx.local_address, ctx.client = "192.0.2.1:1", "192.0.2.2:2", "192.0.2.1:1"
  return ctx
end

local function connect(config, target)
  local ctx = build(config)
  local stream, err = ctx:connect("tcp", target or "target.example:443")
  if stream then
    ctx:own(stream)
  end
  return stream, err, ctx
end

local function hosts(name, ...)
  return { name = name, mappings = { ... } }
end

local function resolvers(server)
  return { { name = "r", nameservers = { { addr = server.address } } } }
end

describe("chain router, names", function()
  it("go through the service's hosts", test(function()
    local echo = plane.echo()
    local stream = assert(connect({
      host = "h", hosts = { hosts("h", { ip = "127.0.0.1", hostname = "target.example" }) },
    }, "target.example:" .. echo:match ":(%d+)$"))
    stream:write "x"
    assert.same("x", stream:read())
    stream:close()
  end))

  it("go through the service's resolver, after its hosts", test(function()
    local echo = plane.echo()
    local port = echo:match ":(%d+)$"
    local server = fake.zone { ["a.example"] = { "127.0.0.1" } }
    local config = {
      host = "h", resolver = "r", resolvers = resolvers(server),
      hosts = { hosts("h", { ip = "127.0.0.1", hostname = "b.example" }) },
    }
    assert(connect(config, "a.example:" .. port)):close()
    assert.same({ "a.example. A" }, server.asked)
  end))

  it("try all addresses of a target", test(function()
    local echo = plane.echo()
    local stream = assert(connect({
      host = "h", hosts = { hosts("h", { ip = "127.0.0.9", hostname = "t" }, { ip = "127.0.0.1", hostname = "t" }) },
    }, "t:" .. echo:match ":(%d+)$"))
    assert.same(echo, stream:remote_address())
    stream:close()
  end))

  it("do not exist when the resolver knows no address", test(function()
    for _, zone in ipairs { {}, { ["target.example"] = {} } } do
      local server = fake.zone(zone)
      local _, err = connect { resolver = "r", resolvers = resolvers(server) }
      assert.same("resolve", err.code)
      assert.is_truthy(tostring(err):find("resolver: domain target.example does not exist", 1, true))
    end
  end))

  it("travel to the proxy when the service has neither", test(function()
    local seen = {}
    note_path(seen)
    local stream = assert(connect { chains = { { name = "c", hops = { { name = "h0", nodes = {
      node("a", plane.echo()),
    } } } } } })
    assert.same({ "a: tcp target.example:443" }, seen)
    stream:close()
  end))

  it("are looked up before the route otherwise; the proxy is told the first address", test(function()
    local seen, asked = {}, {}
    note_path(seen)
    local server = fake.zone { ["target.example"] = { "192.0.2.1", "192.0.2.2" } }
    local ctx = build { resolver = "r", resolvers = resolvers(server), chains = { {
      name = "c", hops = { { name = "h0", nodes = { node("a", plane.echo()) } } },
    } } }
    local chain = ctx.chain
    local route = chain.route
    chain.route = function(self, c, network, address, ...)
      asked[#asked + 1] = address .. " for " .. c.target
      return route(self, c, network, address, ...)
    end
    assert(ctx:connect("tcp", "target.example:443")):close()
    assert.same({ "a: tcp 192.0.2.1:443" }, seen)
    assert.same({ "192.0.2.1:443 for target.example:443" }, asked)
  end))

  it("which hosts alone do not know travel as well", test(function()
    local seen = {}
    note_path(seen)
    local config = {
      host = "h", hosts = { hosts("h", { ip = "192.0.2.9", hostname = "other.example" }) },
      chains = { { name = "c", hops = { { name = "h0", nodes = { node("a", plane.echo()) } } } } },
    }
    assert(connect(config)):close()
    assert(connect(config, "other.example:1")):close()
    assert.same({ "a: tcp target.example:443", "a: tcp 192.0.2.9:1" }, seen)
  end))

  it("of nodes go through the node's hosts and resolver, else the hop's, never the service's", test(function()
    local seen = {}
    note_path(seen)
    local port = plane.echo():match ":(%d+)$"
    local server = fake.zone { ["b.example"] = { "192.0.2.11" } }
    local config = {
      host = "service", resolvers = resolvers(server),
      hosts = {
        hosts("service", { ip = "192.0.2.66", hostname = "." }),
        hosts("hop", { ip = "127.0.0.1", hostname = "a.example" }),
        hosts("node", { ip = "192.0.2.12", hostname = "c.example" }),
      },
      chains = { { name = "c", hops = {
        { name = "h0", hosts = "hop", nodes = { node("a", "a.example:" .. port) } },
        { name = "h1", resolver = "r", nodes = { node("b", "b.example:1080") } },
        { name = "h2", hosts = "hop", nodes = { node("c", "c.example:1081", { hosts = "node" }) } },
        { name = "h3", nodes = { node("d", "d.example:1082") } },
      } } },
    }
    assert(connect(config, "192.0.2.1:1")):close()
    assert.same({
      "a: tcp 192.0.2.11:1080", "b: tcp 192.0.2.12:1081", "c: tcp d.example:1082", "d: tcp 192.0.2.1:1",
    }, seen)
  end))

  it("that a node's resolver does not know fail the node", test(function()
    note_path {}
    local server = fake.zone {}
    local _, err = connect { resolvers = resolvers(server), chains = { { name = "c", hops = {
      { name = "h0", resolver = "r", nodes = { node("a", "a.example:1080") } },
    } } } }
    assert.same("resolve", err.code)
    assert.is_truthy(tostring(err):find("h0/a noting", 1, true))
  end))

  it("reach name servers through chains", test(function()
    local server = fake.zone { ["target.example"] = { "192.0.2.7" } }
    local seen = {}
    plane.declare("connector", "there", {
      connect = function(_, _, stream, network, address)
        seen[#seen + 1] = network .. " " .. address
        return stream
      end,
    })
    local ctx = build { resolver = "r",
      resolvers = { { name = "r", nameservers = { { addr = "tcp://ns.example", chain = "d" } } } },
      chains = {
        { name = "c", hops = { { name = "h0", nodes = {
          { name = "a", addr = plane.echo(), connector = { type = "there" }, dialer = { type = "tcp" } },
        } } } },
        { name = "d", hops = { { name = "h1", nodes = {
          { name = "b", addr = server.address, connector = { type = "there" }, dialer = { type = "tcp" } },
        } } } },
      },
    }
    assert(ctx:connect("tcp", "target.example:443")):close()
    assert.same({ "tcp ns.example:53", "tcp 192.0.2.7:443" }, seen)
    assert.same({ "target.example. A" }, server.asked)
  end))
end)
