-- Who is marked for what: failures and successes of nodes, chains and targets.  Spec: policy 13.3.

local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local mark = require "tidegate.chain.mark"
local plane = require "spec.helpers.plane"

local unique = 0

local function fresh(max_fails, timeout)
  unique = unique + 1
  return mark.new("mark-spec-" .. unique, max_fails, timeout)
end

describe("a mark", function()
  -- the item's own maxFails, that of the selector, failures, failed
  for _, row in ipairs {
    { nil, nil, 1, true },
    { nil, 2, 1, false },
    { nil, 2, 2, true },
    { 3, 1, 2, false },
    { 3, 1, 3, true },
    { 1, 9, 1, true },
    { 0, 9, 1, true }, -- an item's own 0 is 1, whatever the selector says
    { -5, 9, 1, true },
  } do
    it(("of an item with maxFails %s under a selector with %s, after %d"):format(tostring(row[1]), tostring(row[2]),
      row[3]), function()
      local one = fresh(row[1])
      for _ = 1, row[3] do
        one:fail()
      end
      assert.equal(row[4], one:failed { max_fails = row[2] })
    end)
  end

  it("is over after failTimeout, but the next failure counts at once", helpers.task(function()
    local one = fresh(2, 0.03)
    one:fail()
    one:fail()
    assert.is_true(one:failed {})
    helpers.eventually(function()
      return not one:failed {}
    end)
    one:fail() -- nothing has reset the count
    assert.is_true(one:failed {})
    one:ok()
    one:fail()
    assert.is_false(one:failed {})
  end))
end)

-- A chain of nodes a > b; what they do is in `behave`, by name: "handshake" or "connect" fail.
local function build(first, behave, options)
  unique = unique + 1
  plane.declare("connector", "behaving", {
    handshake = function(self, _, stream)
      if behave[self.node.name] == "handshake" then
        return nil, failure.new("protocol", "no")
      end
      return stream
    end,
    connect = function(self, _, stream)
      if behave[self.node.name] == "connect" then
        return nil, failure.new("refused", "no")
      end
      return stream
    end,
  })
  local function node(name, address)
    return { name = name, addr = address, connector = { type = "behaving" }, dialer = { type = "tcp" } }
  end
  local name = "mark-spec-" .. unique
  local built, problems = plane.build {
    chains = { { name = name, hops = {
      { name = name .. "-1", nodes = { node("a", first) } },
      { name = name .. "-2", nodes = { node("b", "192.0.2.1:1") } },
    } } },
    services = { { name = name, handler = { type = "tcp", chain = name }, forwarder = options } },
  }
  assert.same({}, problems)
  return built[name]
end

local function connect(service)
  local ctx = service:context()
  ctx.remote, ctx.local_address, ctx.client = "192.0.2.1:1", "192.0.2.2:2", "192.0.2.1:1"
  local stream = ctx:connect("tcp", "target.example:443")
  if stream then
    stream:close()
  end
  return stream ~= nil
end

local function marks(service)
  local found = service.chain
  return ("a%d b%d chain%d"):format(found.hops[1].nodes[1].mark.mark:count(), found.hops[2].nodes[1].mark.mark:count(),
    found.mark.mark:count())
end

describe("nodes of a chain", function()
  after_each(helpers.task(plane.cleanup))

  -- what, what they do, who is marked
  for _, row in ipairs {
    { "that work are not marked", {}, "a0 b0 chain0" },
    { "whose handshake fails are, with the chain", { a = "handshake" }, "a1 b0 chain1" },
    { "are marked when the one before does not reach them", { a = "connect" }, "a0 b1 chain1" },
    { "behind others are marked alone", { b = "handshake" }, "a0 b1 chain1" },
    { "are not marked for a target they do not reach", { b = "connect" }, "a0 b0 chain0" },
  } do
    it(row[1], helpers.task(function()
      local service = build(plane.echo(), row[2])
      connect(service)
      assert.equal(row[3], marks(service))
    end))
  end

  it("that cannot be dialed are marked, and forgiven once they can", helpers.task(function()
    local behave = { a = "handshake", b = "handshake" }
    local service = build(plane.echo(), behave)
    connect(service)
    connect(service)
    assert.equal("a2 b0 chain2", marks(service))
    behave.a = nil
    connect(service)
    assert.equal("a0 b1 chain3", marks(service))
    behave.b = nil
    assert.is_true(connect(service))
    assert.equal("a0 b0 chain0", marks(service))
  end))
end)

describe("targets of a forwarder", function()
  after_each(helpers.task(plane.cleanup))

  it("are marked when they cannot be reached, whoever on the way is to blame, and forgiven", helpers.task(function()
    local behave = { a = "handshake" }
    local service = build(plane.echo(), behave, { nodes = { { name = "t", addr = "target.example:1" } } })
    local function visit()
      local client = plane.client(service)
      client:write "x"
      client:read()
      client:close()
      return service.forwarder.source.nodes[1].mark.mark:count()
    end
    assert.equal(1, visit())
    assert.equal(2, visit())
    behave.a = nil
    assert.equal(0, visit())
  end))
end)
