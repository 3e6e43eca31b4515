local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local task = require "tidegate.native.task"

-- A connector that writes down the path: each node of it is told where to go next.
local function note_path(seen)
  plane.declare("connector", "noting", {
    metadata = { fail = { type = "bool" } },
    handshake = function(self, _, stream)
      seen[#seen + 1] = "hello " .. self.node.name
      return stream
    end,
    connect = function(self, _, stream, network, address)
      seen[#seen + 1] = ("%s: %s %s"):format(self.node.name, network, address)
      if self.md.fail then
        return nil, require("tidegate.failure").new("refused", "no")
      end
      return stream
    end,
  })
end

local function node(name, address, metadata)
  return {
    name = name,
    addr = address,
    connector = { type = "noting", metadata = metadata },
    dialer = { type = "tcp" },
  }
end

-- A hop of one node with that connector and dialer.
local function hop_of(address, connector, dialer)
  local one = { name = "n", addr = address, connector = { type = connector }, dialer = { type = dialer } }
  return { name = "h", nodes = { one } }
end

-- Connect through a chain of hops.  @return stream | nil, err; context
local function connect(hops, options)
  options = options or {}
  local built, problems = plane.build {
    services = {
      {
        name = "s",
        handler = { type = "tcp", chain = hops and "c", retries = options.retries },
        metadata = options.metadata,
      },
    },
    chains = { { name = "c", hops = hops or {} } },
    hops = options.hops,
  }
  assert.same({}, problems)
  local ctx = built.s:context()
  ctx.remote, ctx.local_address, ctx.client = "192.0.2.1:1", "192.0.2.2:2", "192.0.2.1:1"
  local stream, err = ctx:connect(options.network or "tcp", options.target or "target.example:443")
  if stream then
    ctx:own(stream)
  end
  return stream, err, ctx
end

describe("chain router", function()
  after_each(plane.cleanup)

  it("dials directly without a chain", helpers.task(function()
    local echo = plane.echo()
    local stream, _, ctx = connect(nil, { target = echo })
    stream:write "x"
    assert.same("x", stream:read())
    assert.same(echo, ctx.route)
    stream:close()
  end))

  it("resolves names", helpers.task(function()
    local echo = plane.echo()
    local stream = assert(connect(nil, { target = "localhost:" .. echo:match ":(%d+)$" }))
    stream:close()
  end))

  for _, target in ipairs {
    "1.2.3.4:99999", "host", "1.2.3.4:", ":", "a b:80", "a\0b:80", "[fe80::1%lo]:80", "a\n:80",
  } do
    it(("refuses the target %s with an error"):format(target:gsub("%c", "?")), helpers.task(function()
      local stream, err = connect(nil, { target = target })
      assert.is_nil(stream)
      assert.same("invalid", err.code)
    end))
  end

  it("finds no address for a name that is too long", helpers.task(function()
    local _, err = connect(nil, { target = ("x"):rep(70) .. ("." .. ("y"):rep(60)):rep(5) .. ":80" })
    assert.same("resolve", err.code)
  end))

  it("has no stream of datagrams without a chain", helpers.task(function()
    local _, err = connect(nil, { network = "udp", target = "127.0.0.1:53" })
    assert.same("unsupported", err.code)
  end))

  it("goes from node to node", helpers.task(function()
    local seen = {}
    note_path(seen)
    local echo = plane.echo()
    local stream, _, ctx = connect {
      { name = "hop-0", nodes = { node("a", echo) } },
      { name = "hop-1", nodes = { node("b", "b.example:1080") } },
      { name = "hop-2", nodes = { node("c", "c.example:1081") } },
    }
    assert.same({
      "hello a", "a: tcp b.example:1080", "hello b", "b: tcp c.example:1081", "hello c",
      "c: tcp target.example:443",
    }, seen)
    assert.same(("a@%s > b@b.example:1080 > c@c.example:1081 > target.example:443"):format(echo), ctx.route)
    stream:close()
  end))

  it("names the node that failed", helpers.task(function()
    note_path {}
    local nobody = plane.nobody()
    local _, err = connect { { name = "hop-0", nodes = { node("a", nobody) } } }
    assert.same("refused", err.code)
    assert.same(("hop-0/a noting %s: tcp connect: Connection refused"):format(nobody), tostring(err))

    _, err = connect {
      { name = "hop-0", nodes = { node("a", plane.echo(), { fail = true }) } },
      { name = "hop-1", nodes = { node("b", "b.example:1") } },
    }
    assert.same("hop-1/b noting b.example:1: no", tostring(err))
  end))

  it("ends the route at a hop without nodes", helpers.task(function()
    local seen = {}
    note_path(seen)
    local stream = connect {
      { name = "hop-0", nodes = { node("a", plane.echo()) } },
      { name = "hop-1", nodes = {} },
      { name = "hop-2", nodes = { node("c", "c.example:1") } },
    }
    assert.same({ "hello a", "a: tcp target.example:443" }, seen)
    stream:close()
  end))

  it("takes hops by name", helpers.task(function()
    local seen = {}
    note_path(seen)
    local stream = connect({ { name = "shared" } }, {
      hops = { { name = "shared", nodes = { node("a", plane.echo()) } } },
    })
    assert.same("hello a", seen[1])
    stream:close()
  end))

  it("retries along another node, and leaves the bad one alone", helpers.task(function()
    local seen = {}
    note_path(seen)
    local hops = { { name = "hop-retry", nodes = { node("bad", plane.nobody()), node("good", plane.echo()) } } }
    assert(connect(hops, { retries = 1 })):close()
    assert.same({ "hello good", "good: tcp target.example:443" }, seen)
    for _ = 1, 3 do
      assert(connect(hops)):close() -- marks are one for the process, so the bad node stays known
    end
  end))

  it("uses a node that failed when there is no other", helpers.task(function()
    note_path {}
    local nobody = plane.nobody()
    local hops = { { name = "hop-last", nodes = { node("x", nobody), node("y", nobody) } } }
    for _ = 1, 3 do
      local _, err = connect(hops)
      assert.same("refused", err.code)
    end
  end))

  it("gives up at the deadline of an attempt", helpers.task(function()
    plane.declare("connector", "silent", {
      connect = function(_, _, stream, _, _, deadline)
        stream:set_deadline(deadline)
        return stream:read()
      end,
    })
    local mute = plane.accept(function(s)
      s:read()
      s:close()
    end)
    local began = task.now()
    local _, err = connect({
      hop_of(mute, "silent", "tcp"),
    }, { metadata = { dialTimeout = "100ms" } })
    assert.same("timeout", err.code)
    assert.is_true(task.now() - began < 5000)
  end))

  it("rejects through the direct connector", helpers.task(function()
    local stream = assert(connect {
      {
        name = "h",
        nodes = {
          {
            name = "r", addr = ":0",
            connector = { type = "virtual", metadata = { action = "reject" } },
            dialer = { type = "virtual" },
          },
        },
      },
    })
    local bytes, err = stream:read()
    assert.is_nil(bytes)
    assert.same("eof", err.code)
    stream:close()
  end))

  it("dials the target with the direct connector", helpers.task(function()
    local echo = plane.echo()
    local stream = assert(connect({
      hop_of(":0", "direct", "direct"),
    }, { target = echo }))
    stream:write "x"
    assert.same("x", stream:read())
    stream:close()
  end))

  it("explains the direct dialer with another connector", helpers.task(function()
    plane.declare("connector", "talking", {
      connect = function(_, _, stream)
        local ok, err = stream:write "hello"
        return ok and stream, err
      end,
    })
    local _, err = connect {
      hop_of(":0", "talking", "direct"),
    }
    assert.same("unsupported", err.code)
  end))
end)
